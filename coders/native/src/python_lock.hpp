// Python's lock, given up while an image is coded and taken back afterwards.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <thread>
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace p59 {

// Calls `take`, which takes Python's lock. Once the process is exiting, Python before 3.14 ends a thread that asks for
// the lock by unwinding its stack, which would abort the process at the first function that may not throw. Such a thread
// stays here instead; the end of the process ends it.
template <class Take>
void take_or_stay(const Take& take) noexcept {
#if defined(__GLIBCXX__)
    try {
        take();
    } catch (abi::__forced_unwind&) {
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
#else
    take();
#endif
}

// Without the lock for as long as it lives.
class Released {
public:
    Released() : state_(PyEval_SaveThread()) {}
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;
    ~Released() {
        take_or_stay([this] { PyEval_RestoreThread(state_); });
    }

private:
    PyThreadState* state_;
};

// With the lock for as long as it lives, within a Released.
class Acquired {
public:
    Acquired() {
        take_or_stay([this] { state_ = PyGILState_Ensure(); });
    }
    Acquired(const Acquired&) = delete;
    Acquired& operator=(const Acquired&) = delete;
    ~Acquired() { PyGILState_Release(state_); }

private:
    PyGILState_STATE state_;
};

}  // namespace p59
