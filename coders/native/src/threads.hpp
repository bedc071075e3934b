// Threads for the length of one call, and how they wait for each other.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace p59 {

// Waiting: a step lasts tens of microseconds, so spin first; where the machine is busy, give way to whoever is to be
// waited for.
class Patience {
public:
    void wait() {
        if (++turns_ < kSpins) {
#if defined(__x86_64__) && defined(__GNUC__)
            __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
            asm volatile("yield");
#endif
        } else {
            std::this_thread::yield();
        }
    }
    void reset() { turns_ = 0; }

private:
    static constexpr int kSpins = 2000;
    int turns_ = 0;
};

// `threads - 1` threads that run `body(index)` beside the caller, who is index 0 and calls it too or does other work.
// `stop` is set when one of them throws, memory being short say, and when the caller has finished or throws; bodies, the
// caller's as well, return soon after.
class Team {
public:
    Team(int threads, const std::function<void(int)>& body, std::atomic<bool>& stop) : stop_(stop) {
        for (int index = 1; index < threads; ++index) {
            try {
                threads_.emplace_back([this, body, index] { run(body, index); });
            } catch (const std::exception&) {
                break;  // Fewer threads do the same work.
            }
        }
    }
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;
    ~Team() { join(); }

    // With the caller; fewer than asked for where the system has no more.
    int size() const { return int(threads_.size()) + 1; }

    // To be called after the caller's own part. Rethrows what another thread threw first.
    void finish() {
        join();
        if (error_) std::rethrow_exception(error_);
    }

private:
    void run(const std::function<void(int)>& body, int index) {
        try {
            body(index);
        } catch (...) {
            if (!failed_.test_and_set()) error_ = std::current_exception();
            stop_.store(true);
        }
    }

    void join() {
        stop_.store(true);
        for (std::thread& thread : threads_)
            if (thread.joinable()) thread.join();
    }

    std::atomic<bool>& stop_;
    std::atomic_flag failed_ = ATOMIC_FLAG_INIT;
    std::exception_ptr error_;
    std::vector<std::thread> threads_;
};

using Clock = std::chrono::steady_clock;

// Calls `check` about every 50 ms of the caller's work, for interrupts; `check` throws to end the work.
class Heartbeat {
public:
    explicit Heartbeat(std::function<void()> check) : check_(std::move(check)), next_(Clock::now() + kInterval) {}

    void beat() {
        if (Clock::now() < next_) return;
        check_();
        next_ = Clock::now() + kInterval;
    }

private:
    static constexpr std::chrono::milliseconds kInterval{50};
    std::function<void()> check_;
    Clock::time_point next_;
};

}  // namespace p59
