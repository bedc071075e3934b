// Memory aligned for the widest vectors, zeroed, freed by its owner.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

namespace p59 {

template <class T>
class Buffer {
public:
    Buffer() = default;
    // Takes the size in 64 bits, whatever a pointer has.
    explicit Buffer(uint64_t size) {
        if (size > std::min<uint64_t>(uint64_t(1) << 46, PTRDIFF_MAX) / sizeof(T)) throw std::bad_alloc();
        size_ = size_t(size);
        data_ = static_cast<T*>(::operator new(size_ * sizeof(T), alignment));
        std::memset(static_cast<void*>(data_), 0, size_ * sizeof(T));
    }
    Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~Buffer() {
        if (data_) ::operator delete(data_, alignment);
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    size_t size() const { return size_; }
    T& operator[](size_t index) { return data_[index]; }
    const T& operator[](size_t index) const { return data_[index]; }

private:
    static constexpr std::align_val_t alignment{64};
    T* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace p59
