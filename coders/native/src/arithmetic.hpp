// The arithmetic coder of coders/numpyac.py: the same bits, several at a time.
//
// After a symbol has narrowed [low, high], the bits in which low and high agree are settled; what is left is
// low = 0..., high = 1.... Every following position with low = 1 and high = 0 is then undecided: it is dropped and counted.
// Neither can occur again until the next symbol, so that one count of leading bits each replaces the bit by bit loop.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace p59 {

// Functions in headers that kernels include are `static`: a shared copy compiled for a newer instruction set must never
// be what the linker keeps for everyone.

struct Interval {
    uint32_t low = 0, high = 0xFFFFFFFF;
};

static inline uint64_t span(const Interval& interval) { return uint64_t(interval.high) - interval.low + 1; }

// What is below the CDF point `c` of a symbol, in units of the interval.
static inline uint64_t share_below(uint64_t span, uint32_t c) { return span * c >> 16; }

static inline Interval narrowed(const Interval& interval, uint32_t c_low, uint32_t c_high) {
    uint64_t width = span(interval);
    return {uint32_t(interval.low + share_below(width, c_low)), uint32_t(interval.low + share_below(width, c_high) - 1)};
}

static inline int settled_bits(const Interval& interval) { return std::countl_zero(interval.low ^ interval.high); }

static inline void drop_settled(Interval& interval, int count) {
    interval.low = uint32_t(uint64_t(interval.low) << count);
    interval.high = uint32_t(uint64_t(interval.high) << count | ((uint64_t(1) << count) - 1));
}

// Only after drop_settled.
static inline int undecided_bits(const Interval& interval) {
    return std::countl_one(uint32_t((interval.low & ~interval.high) << 1));
}

static inline void drop_undecided(Interval& interval, int count) {
    interval.low = interval.low << count & 0x7FFFFFFF;
    interval.high = interval.high << count | ((uint32_t(1) << count) - 1) | 0x80000000;
}

class ArithmeticEncoder {
public:
    void encode(uint32_t c_low, uint32_t c_high) {
        interval_ = narrowed(interval_, c_low, c_high);
        int settled = settled_bits(interval_);
        if (settled) write(uint64_t(interval_.low) >> (32 - settled), settled);
        drop_settled(interval_, settled);
        int undecided = undecided_bits(interval_);
        drop_undecided(interval_, undecided);
        pending_ += undecided;
    }

    // The whole stream, padded with zero bits to a byte. The encoder is done.
    std::vector<uint8_t> finish() {
        pending_ += 1;
        write(interval_.low < 0x40000000 ? 0 : 1, 1);
        append(0, -count_ & 7);
        while (count_) bytes_.push_back(uint8_t(bits_ >> (count_ -= 8)));
        return std::move(bytes_);
    }

private:
    // `count` >= 1 bits, the pending ones after the first as its opposite.
    void write(uint64_t bits, int count) {
        if (pending_) {
            uint64_t first = bits >> (count - 1) & 1;
            append(first, 1);
            for (; pending_ > 32; pending_ -= 32) append(first ? 0 : 0xFFFFFFFF, 32);
            append(first ? 0 : (uint64_t(1) << pending_) - 1, int(pending_));
            pending_ = 0;
            bits &= (uint64_t(1) << (count - 1)) - 1;
            count -= 1;
        }
        append(bits, count);
    }

    // 0 to 32 bits.
    void append(uint64_t bits, int count) {
        bits_ = bits_ << count | bits;
        count_ += count;
        if (count_ >= 32) {
            uint32_t word = uint32_t(bits_ >> (count_ -= 32));
            uint8_t bytes[4] = {uint8_t(word >> 24), uint8_t(word >> 16), uint8_t(word >> 8), uint8_t(word)};
            bytes_.insert(bytes_.end(), bytes, bytes + 4);
        }
    }

    Interval interval_;
    uint64_t pending_ = 0, bits_ = 0;
    int count_ = 0;
    std::vector<uint8_t> bytes_;
};

// Reads a stream; past its end it reads zeros. `offset` is the stream's value minus `interval.low`.
struct ArithmeticDecoder {
    Interval interval;
    uint32_t offset = 0;
    const uint8_t* bytes = nullptr;
    size_t size = 0;
    uint64_t position = 0;  // of the next bit
};

// Eight bytes, the first highest.
static inline uint64_t big_endian(const uint8_t* bytes) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t word;  // one load; not every compiler sees that the loop below is one
    std::memcpy(&word, bytes, sizeof word);
    return __builtin_bswap64(word);
#else
    uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word = word << 8 | bytes[i];
    return word;
#endif
}

// The next `count` bits, 0 to 32.
static inline uint64_t read_bits(ArithmeticDecoder& decoder, int count) {
    uint64_t byte = decoder.position >> 3, window = 0;
    if (byte + 8 <= decoder.size) [[likely]] {
        window = big_endian(decoder.bytes + byte);
    } else {
        for (uint64_t i = byte; i < byte + 8; ++i) window = window << 8 | (i < decoder.size ? decoder.bytes[i] : 0);
    }
    window <<= decoder.position & 7;
    decoder.position += count;
    return window >> 1 >> (63 - count);
}

static inline ArithmeticDecoder start_decoding(const uint8_t* bytes, size_t size) {
    ArithmeticDecoder decoder;
    decoder.bytes = bytes;
    decoder.size = size;
    decoder.offset = uint32_t(read_bits(decoder, 32));
    return decoder;
}

// The 16-bit count that lies in the next symbol's [c_low, c_high).
static inline uint32_t decoding_target(const ArithmeticDecoder& decoder) {
    return uint32_t((((uint64_t(decoder.offset) + 1) << 16) - 1) / span(decoder.interval));
}

static inline void take_symbol(ArithmeticDecoder& decoder, uint32_t c_low, uint32_t c_high) {
    decoder.offset -= uint32_t(share_below(span(decoder.interval), c_low));
    decoder.interval = narrowed(decoder.interval, c_low, c_high);
    int settled = settled_bits(decoder.interval);
    drop_settled(decoder.interval, settled);
    int undecided = undecided_bits(decoder.interval);
    drop_undecided(decoder.interval, undecided);
    int count = settled + undecided;
    decoder.offset = uint32_t(uint64_t(decoder.offset) << count | read_bits(decoder, count));
}

}  // namespace p59
