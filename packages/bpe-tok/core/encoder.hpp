// From text to token ids: cut on special tokens, cut into pretokens, look each up in a cache, and
// merge the bytes of those that are new.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "merges.hpp"
#include "pretoken_cache.hpp"
#include "pretokens.hpp"
#include "specials.hpp"
#include "token_table.hpp"

namespace bpe_tok {

// A buffer of ids that grows.
template <class Id>
class IdBuffer {
 public:
  // A place for `count` more ids and for 16 bytes of scribble behind them.
  Id* room(size_t count) {
    const size_t needed = size_ + count + 16 / sizeof(Id);
    if (needed > capacity_) {
      const size_t capacity = needed + needed / 2;
      std::unique_ptr<Id[]> larger(new Id[capacity]);
      if (size_) std::memcpy(larger.get(), ids_.get(), size_ * sizeof(Id));
      ids_ = std::move(larger);
      capacity_ = capacity;
    }
    return ids_.get() + size_;
  }
  void written_to(const Id* end) { size_ = static_cast<size_t>(end - ids_.get()); }
  const Id* data() const { return ids_.get(); }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  void clear() { size_ = 0; }
  void swap(IdBuffer& other) {
    std::swap(ids_, other.ids_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

 private:
  std::unique_ptr<Id[]> ids_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// Ids in memory of the caller's, enough for one for each byte of the text and the scribble.
template <class Id>
class IdSpan {
 public:
  explicit IdSpan(Id* begin) : begin_(begin), end_(begin) {}
  Id* room(size_t) { return end_; }
  void written_to(Id* end) { end_ = end; }
  size_t size() const { return static_cast<size_t>(end_ - begin_); }

 private:
  Id* begin_;
  Id* end_;
};

// Counts ids and forgets them.
template <class Id>
class IdCounter {
 public:
  Id* room(size_t count) {
    buffer_.clear();
    return begin_ = buffer_.room(count);
  }
  void written_to(const Id* end) { size_ += static_cast<size_t>(end - begin_); }
  size_t size() const { return size_; }

 private:
  IdBuffer<Id> buffer_;
  Id* begin_ = nullptr;
  size_t size_ = 0;
};

// What does not depend on the width of an id.
struct Vocabulary {
  TokenTable tokens;
  Merges merges;
  bool ignore_merges;  // a pretoken that is a token is that token
  Pattern pattern;
  Specials specials;
  std::vector<uint32_t> special_ids;
};

template <class Id>
class Encoder {
 public:
  explicit Encoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
    idle_.reserve(kMaxIdle);  // a lease that ends must not need memory
  }

  // Any number of threads may encode at once: each has a workspace to itself.
  template <class Ids>
  void encode(const uint8_t* text, size_t size, const uint8_t* allowed, Ids& ids) {
    Lease lease(*this);
    encode_text(lease.workspace(), text, text + size, allowed, ids);
  }

  // Encodes bytes that are one pretoken.
  template <class Ids>
  void encode_piece(const uint8_t* text, size_t size, Ids& ids) {
    if (size == 0) return;
    Lease lease(*this);
    const uint8_t* bounds[] = {text, text + size};
    encode_pretokens(lease.workspace(), bounds, 1, text + size, ids);
  }

 private:
  // The pretokens worked on together: enough to hide the wait for memory.
  static constexpr size_t kBatch = 128;

  using Cache = PretokenCache<Id>;
  using Set = typename Cache::Set;

  struct Slot {
    PretokenKey key;  // of a long pretoken, its hash is the first word
    Set* set;         // nullptr for a long pretoken
  };

  struct Workspace {
    Cache cache;
    const uint8_t* bounds[kBatch + kStartsSlack + 2];
    Slot slots[kBatch + kStartsSlack + 1];
  };

  class Lease {
   public:
    explicit Lease(Encoder& encoder) : encoder_(encoder) {
      {
        const std::lock_guard<std::mutex> lock(encoder.mutex_);
        if (!encoder.idle_.empty()) {
          workspace_ = std::move(encoder.idle_.back());
          encoder.idle_.pop_back();
        }
      }
      if (!workspace_) workspace_.reset(new Workspace());
    }
    ~Lease() {
      const std::lock_guard<std::mutex> lock(encoder_.mutex_);
      if (encoder_.idle_.size() < kMaxIdle) encoder_.idle_.push_back(std::move(workspace_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Workspace& workspace() { return *workspace_; }

   private:
    Encoder& encoder_;
    std::unique_ptr<Workspace> workspace_;
  };

  template <class Ids>
  void encode_text(Workspace& workspace, const uint8_t* text, const uint8_t* end,
                   const uint8_t* allowed, Ids& ids) {
    while (text != end) {
      const Specials::Match special = vocabulary_.specials.find(text, end, allowed);
      if (special.begin != text) {
        if (vocabulary_.pattern == Pattern::kGpt2)
          encode_ordinary(workspace, Gpt2Cutter(text, special.begin), special.begin, ids);
        else
          encode_ordinary(workspace, RunCutter(vocabulary_.pattern, text, special.begin),
                          special.begin, ids);
      }
      if (special.index != Specials::kNone) {
        Id* out = ids.room(1);
        *out++ = static_cast<Id>(vocabulary_.special_ids[special.index]);
        ids.written_to(out);
      }
      text = special.end;
    }
  }

  template <class Cutter, class Ids>
  void encode_ordinary(Workspace& workspace, Cutter cutter, const uint8_t* end, Ids& ids) {
    const uint8_t** bounds = workspace.bounds;
    size_t starts = 0;
    while (!cutter.done()) {
      starts = static_cast<size_t>(cutter.write_starts(bounds + starts, kBatch - starts) - bounds);
      // The last one's end is not known before the next one's start.
      if (cutter.done()) bounds[starts++] = end;
      if (starts < 2) continue;
      encode_pretokens(workspace, bounds, starts - 1, end, ids);
      bounds[0] = bounds[starts - 1];
      starts = 1;
    }
  }

  // Pretoken i is from bounds[i] to bounds[i + 1]; `text_end` is how far memory may be read.
  template <class Ids>
  void encode_pretokens(Workspace& workspace, const uint8_t* const* bounds, size_t count,
                        const uint8_t* text_end, Ids& ids) {
    if (workspace.cache.is_crowded()) workspace.cache.grow();
    prepare_slots(workspace.cache, bounds, count, text_end, workspace.slots);
    Id* const out = ids.room(static_cast<size_t>(bounds[count] - bounds[0]));
    ids.written_to(write_ids(workspace.cache, workspace.slots, bounds, count, out));
  }

  static void prepare_slots(Cache& cache, const uint8_t* const* bounds, size_t count,
                            const uint8_t* text_end, Slot* slots) {
    if (text_end - bounds[count - 1] >= 16)
      prepare_readable<true>(cache, bounds, count, text_end, slots);
    else
      prepare_readable<false>(cache, bounds, count, text_end, slots);
  }

  // Asks for the memory that each pretoken needs. `kReadable`: 16 bytes can be read at each.
  template <bool kReadable>
  static BPE_TOK_NOINLINE void prepare_readable(Cache& cache, const uint8_t* const* bounds,
                                                size_t count, const uint8_t* text_end, Slot* slots) {
    const uint8_t* begin = bounds[0];
    for (size_t i = 0; i < count; ++i) {
      const uint8_t* const end = bounds[i + 1];
      const size_t size = static_cast<size_t>(end - begin);
      Slot& slot = slots[i];
      if (size <= kMaxShort) {
        slot.key = kReadable ? readable_key(begin, size) : pretoken_key(begin, size, text_end);
        slot.set = cache.set_of(slot.key);
        BPE_TOK_PREFETCH(slot.set);
      } else {
        slot.set = nullptr;
        slot.key.first = hash_of(begin, size);
        BPE_TOK_PREFETCH(cache.long_set_of(slot.key.first));
      }
      begin = end;
    }
  }

  BPE_TOK_NOINLINE Id* write_ids(Cache& cache, const Slot* slots, const uint8_t* const* bounds,
                                 size_t count, Id* out) const {
    const Slot* const end = slots + count;
    for (const Slot* slot = slots; slot != end; ++slot) {
      if (slot->set) {
        const auto found = Cache::find(slot->set, slot->key);
        if (found.entry && found.count() < Cache::kAway) {
          found.write(out);
          out += found.count();
          continue;
        }
      }
      const uint8_t* const* bound = bounds + (slot - slots);
      out = encode_rare(cache, *slot, bound[0], bound[1], out);
    }
    return out;
  }

  // A pretoken that is long, or new, or has many ids. It is apart so that the loop above keeps its
  // variables in registers.
  BPE_TOK_NOINLINE Id* encode_rare(Cache& cache, const Slot& slot, const uint8_t* text,
                                   const uint8_t* end, Id* out) const {
    const size_t size = static_cast<size_t>(end - text);
    if (slot.set) {
      const auto found = Cache::find(slot.set, slot.key);
      if (found.entry) return copy(cache.away(found), found.count() ^ Cache::kAway, out);
      const size_t made = merge(text, size, out);
      cache.insert(slot.set, slot.key, out, made);
      return out + made;
    }
    if (size > Cache::kMaxCached) return out + merge(text, size, out);
    const uint64_t hash = slot.key.first;
    auto* const set = cache.long_set_of(hash);
    if (const auto found = cache.find(set, hash, text, size); found.ids)
      return copy(found.ids, found.count, out);
    const size_t made = merge(text, size, out);
    cache.insert(set, hash, text, size, out, made);
    return out + made;
  }

  static Id* copy(const Id* ids, size_t count, Id* out) {
    std::memcpy(out, ids, count * sizeof(Id));
    return out + count;
  }

  size_t merge(const uint8_t* text, size_t size, Id* out) const {
    if (vocabulary_.ignore_merges) {
      const uint32_t id = vocabulary_.tokens.find(text, size);
      if (id != TokenTable::kAbsent) {
        *out = static_cast<Id>(id);
        return 1;
      }
    }
    return vocabulary_.merges.merge(text, size, out);
  }

  static constexpr size_t kMaxIdle = 64;

  const Vocabulary& vocabulary_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace bpe_tok
