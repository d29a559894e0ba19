// Block buffers that are used again: first-touch memory costs a page fault every 4 KiB, which on
// a virtual machine is dearer than the copy itself.
//
// A buffer is leased by a thread for the length of one job, so that no more are alive than two for
// each thread of the pool. A few are kept for the next job; the rest go back to the allocator.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace kangaroo {

constexpr size_t kMaxBlockBytes = 1 << 20;

class BlockBuffer {
 public:
  // Room for one block, the frame and names around it, and what was read beyond it.
  static constexpr size_t kBytes = kMaxBlockBytes + (128 << 10);

  BlockBuffer() : data_(Take()) {}
  BlockBuffer(const BlockBuffer&) = delete;
  BlockBuffer& operator=(const BlockBuffer&) = delete;
  ~BlockBuffer() { GiveBack(data_); }

  // nullptr when there was no memory.
  uint8_t* data() const { return data_; }

 private:
  static constexpr size_t kKeptBuffers = 8;
  static constexpr size_t kAlignmentBytes = 4096;

  struct Pool {
    std::mutex mutex;
    std::vector<uint8_t*> idle;
  };

  // Never destroyed: a pool thread may still give a buffer back while the process exits.
  static Pool& Shared() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  static uint8_t* Take() {
    Pool& pool = Shared();
    {
      std::lock_guard<std::mutex> lock(pool.mutex);
      if (!pool.idle.empty()) {
        uint8_t* data = pool.idle.back();
        pool.idle.pop_back();
        return data;
      }
    }
    return static_cast<uint8_t*>(std::aligned_alloc(kAlignmentBytes, kBytes));
  }

  static void GiveBack(uint8_t* data) {
    if (data == nullptr) return;
    Pool& pool = Shared();
    std::lock_guard<std::mutex> lock(pool.mutex);
    if (pool.idle.size() < kKeptBuffers) {
      pool.idle.push_back(data);
    } else {
      std::free(data);
    }
  }

  uint8_t* const data_;
};

}  // namespace kangaroo
