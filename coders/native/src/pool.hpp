// Threads that outlive a call, for work that comes in many small portions.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "threads.hpp"

namespace p59 {

// The number of this process; where processes are not forked, the same of all.
inline long process_number() {
#if defined(__unix__) || defined(__APPLE__)
    return getpid();
#else
    return 0;
#endif
}

// `threads - 1` threads that share portions of work with whoever calls `run`. They spin for a while between portions,
// which follow each other closely, then sleep. `use` says how many are worth the trouble; the others sleep.
//
// `tickets_` holds the round in its high half and how many indices nobody has claimed in its low one. `run` returns when
// all are finished, so that a thread that has claimed one finds the body of that very round.
//
// A process that was forked has a copy of the pool, but not its threads: there the copy's end waits for nobody.
class Pool {
public:
    explicit Pool(int threads) {
        for (int index = 1; index < threads; ++index) {
            try {
                own_->threads.emplace_back([this, index] { serve(index); });
            } catch (const std::exception&) {
                break;  // Fewer threads do the same work.
            }
        }
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() {
        if (process_number() != process_) {
            static_cast<void>(own_.release());  // to destroy what threads wait on is to wait for them
            return;
        }
        {
            std::lock_guard lock(own_->sleeping);
            stop_.store(true);
        }
        own_->wake.notify_all();
        own_->unused.notify_all();
        for (std::thread& thread : own_->threads) thread.join();
    }

    // From now on at least `threads`, the caller among them, share the work, if there are so many. Fewer than half as many
    // as do it now have to be enough for a while before the others sleep, as those do who spin in vain.
    void use(int threads) {
        std::lock_guard one(own_->running);
        const int wanted = std::clamp(threads, 1, int(own_->threads.size()) + 1), before = used_.load();
        most_wanted_ = std::max(most_wanted_, wanted);
        if (wanted <= before) {
            if (2 * wanted > before) turns_with_less_ = most_wanted_ = 0;
            if (2 * wanted > before || ++turns_with_less_ < kTurnsWithLess) return;
        }
        {
            std::lock_guard lock(own_->sleeping);  // nobody is between looking and falling asleep
            used_.store(most_wanted_);
        }
        turns_with_less_ = most_wanted_ = 0;
        own_->wake.notify_all();
        own_->unused.notify_all();
    }

    // body(0) to body(count - 1), in any order. Rethrows what one of them throws when all are finished.
    void run(int count, const std::function<void(int)>& body) {
        std::lock_guard one(own_->running);
        error_ = nullptr;
        body_ = &body;
        unfinished_.store(count);
        {
            std::lock_guard lock(own_->sleeping);  // nobody is between looking and falling asleep
            tickets_.store(uint64_t(++round_) << 32 | uint32_t(count), std::memory_order_release);
        }
        if (count > 1) own_->wake.notify_all();
        work();
        Patience patience;
        while (unfinished_.load(std::memory_order_acquire)) patience.wait();
        if (error_) std::rethrow_exception(error_);
    }

private:
    // The threads, and what they wait on.
    struct Own {
        std::mutex running, sleeping;
        std::condition_variable wake, unused;  // of threads that are used; of the others
        std::vector<std::thread> threads;
    };

    // Longer than a device takes for a step: waking up takes as long as a step.
    static constexpr std::chrono::microseconds kSpinning{300};
    static constexpr int kTurnsWithLess = 64;

    // Claim and do what there is; whether there was anything.
    bool work() {
        bool any = false;
        uint64_t ticket = tickets_.load(std::memory_order_acquire);
        while (uint32_t(ticket)) {
            if (!tickets_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel)) continue;
            any = true;
            try {
                (*body_)(int(uint32_t(ticket)) - 1);
            } catch (...) {
                std::lock_guard lock(own_->sleeping);
                error_ = std::current_exception();
            }
            unfinished_.fetch_sub(1, std::memory_order_acq_rel);
            ticket = tickets_.load(std::memory_order_acquire);
        }
        return any;
    }

    void serve(int index) {
        Patience patience;
        Clock::time_point since = Clock::now();
        while (!stop_.load(std::memory_order_relaxed)) {
            const bool used = index < used_.load(std::memory_order_relaxed);
            if (used && work()) {
                patience.reset();
                since = Clock::now();
            } else if (used && Clock::now() - since < kSpinning) {
                patience.wait();
            } else {
                std::unique_lock lock(own_->sleeping);
                if (index < used_.load())
                    own_->wake.wait(
                        lock, [&] { return stop_.load() || index >= used_.load() || uint32_t(tickets_.load()); });
                else
                    own_->unused.wait(lock, [&] { return stop_.load() || index < used_.load(); });
                since = Clock::now();
            }
        }
    }

    const long process_ = process_number();
    std::atomic<bool> stop_{false};
    std::atomic<int> used_{1};
    int turns_with_less_ = 0, most_wanted_ = 0;  // of `use`
    alignas(64) std::atomic<uint64_t> tickets_{0};
    alignas(64) std::atomic<int> unfinished_{0};
    const std::function<void(int)>* body_ = nullptr;
    std::exception_ptr error_;
    uint32_t round_ = 0;
    std::unique_ptr<Own> own_ = std::make_unique<Own>();
};

}  // namespace p59
