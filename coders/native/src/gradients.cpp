// Which kinds of gradients this processor can compute.
#include "gradients.hpp"

namespace p59 {

std::vector<GradientsKind> available_gradients() {
    std::vector<GradientsKind> kinds;
    for (const GradientsKind& kind : {avx512bf16_gradients(), avx512_gradients(), avx2_gradients(), vectors_gradients()})
        if (kind.make) kinds.push_back(kind);
    return kinds;
}

}  // namespace p59
