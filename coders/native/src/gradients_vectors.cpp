// 128-bit vectors of floats of the compiler's own, four of them for 16 sums: NEON on ARM, VSX on POWER, SSE2 on x86, and
// numbers one by one where a processor has no vectors. Not for x86 processors' old unit, which computes in more digits than
// floats have.
#include "gradients.hpp"

#if defined(__GNUC__) && !(defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 2)

#include <cstring>

#include "network_gradient.hpp"

namespace p59 {

namespace {

struct Vectors {
    using Four = float __attribute__((vector_size(16)));
    struct Sums {
        Four a, b, c, d;
    };
    using Element = float;
    using Factors = Sums;
    using Factor = float;
#if defined(__aarch64__) || defined(__powerpc64__) || defined(__s390x__)
    static constexpr int kTileRows = 6;  // 24 of 32 registers hold sums
#else
    static constexpr int kTileRows = 2;  // 8 of 16
#endif
    static constexpr int kGroup = 1, kTileBlocks = 1;

    static Sums load_sums(const float* p) { return {load(p), load(p + 4), load(p + 8), load(p + 12)}; }
    static void store_sums(float* p, Sums sums) {
        store(p, sums.a);
        store(p + 4, sums.b);
        store(p + 8, sums.c);
        store(p + 12, sums.d);
    }
    static Sums all(float value) {
        const Four four = value - Four{};
        return {four, four, four, four};
    }
    static Sums add(Sums x, Sums y) { return {x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d}; }
    static Sums multiply(Sums x, Sums y) { return {x.a * y.a, x.b * y.b, x.c * y.c, x.d * y.d}; }
    static Sums larger(Sums x, Sums y) {
        return {x.a > y.a ? x.a : y.a, x.b > y.b ? x.b : y.b, x.c > y.c ? x.c : y.c, x.d > y.d ? x.d : y.d};
    }
    static Sums leaky_slope(Sums activations, Sums sums) {
        return {leaky_slope(activations.a, sums.a), leaky_slope(activations.b, sums.b),
                leaky_slope(activations.c, sums.c), leaky_slope(activations.d, sums.d)};
    }
    static Factors load_factors(const Element* p) { return load_sums(p); }
    static Factor broadcast_factor(const Element* p) { return *p; }
    static Sums multiply_add(Sums sums, Factors factors, Factor factor) {
        return {sums.a + factors.a * factor, sums.b + factors.b * factor, sums.c + factors.c * factor,
                sums.d + factors.d * factor};
    }
    static Element element(float value) { return value; }
    static Sums load_elements(const Element* p) { return load_sums(p); }
    static void store_elements(Element* p, Sums sums) { store_sums(p, sums); }

private:
    static Four load(const float* p) {
        Four four;
        std::memcpy(&four, p, sizeof four);
        return four;
    }
    static void store(float* p, Four four) { std::memcpy(p, &four, sizeof four); }
    static Four leaky_slope(Four activations, Four sums) { return activations > 0 ? sums : sums * float(kLeakySlope); }
};

}  // namespace

GradientsKind vectors_gradients() { return {"vectors", make_gradients<Vectors>}; }

}  // namespace p59

#else

namespace p59 {

GradientsKind vectors_gradients() { return {"vectors", nullptr}; }

}  // namespace p59

#endif
