// Counting pretokens, which is all that training needs of a text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "pretoken_key.hpp"
#include "pretokens.hpp"
#include "specials.hpp"

namespace bpe_tok {

class PretokenCounter {
 public:
  PretokenCounter(Pattern pattern, const std::vector<std::string>& specials)
      : pattern_(pattern), specials_(specials) {
    clear();
  }

  // Counts a text's pretokens; special tokens end pretokens, and are not counted.
  void add(const uint8_t* text, size_t size) {
    const uint8_t* const end = text + size;
    while (text != end) {
      const Specials::Match special = specials_.find(text, end, nullptr);
      if (pattern_ == Pattern::kGpt2)
        add_ordinary(Gpt2Cutter(text, special.begin), special.begin);
      else
        add_ordinary(RunCutter(pattern_, text, special.begin), special.begin);
      text = special.end;
    }
  }

  // Counts a pretoken `count` times more. It may have any length but 0.
  void add_pretoken(const uint8_t* text, size_t size, uint64_t count) {
    if (size <= kMaxShort) {
      const PretokenKey key = pretoken_key(text, size, text + size);
      add_short(key, hash_of(key), count);
    } else {
      add_long(text, size, count);
    }
  }

  // Calls visit(bytes, size, count) for each distinct pretoken.
  template <class Visit>
  void for_each(Visit visit) const {
    for (const ShortCount& entry : shorts_) {
      if (entry.count == 0) continue;
      uint8_t bytes[16];
      const size_t size = bytes_of_key(entry.first, entry.second, bytes);
      visit(bytes, size, entry.count);
    }
    for (const LongCount& entry : longs_)
      if (entry.count) visit(long_text_.data() + entry.text, size_t{entry.size}, entry.count);
  }

  size_t distinct() const { return num_shorts_ + num_longs_; }

  void clear() {
    std::vector<ShortCount>(kFirstCapacity).swap(shorts_);
    std::vector<LongCount>(kFirstCapacity).swap(longs_);
    std::vector<uint8_t>().swap(long_text_);
    num_shorts_ = num_longs_ = 0;
  }

 private:
  static constexpr size_t kBatch = 64;
  static constexpr size_t kFirstCapacity = 1 << 10;

  struct ShortCount {
    uint64_t first, second;  // the key
    uint64_t count;
  };
  struct LongCount {
    uint64_t hash;
    size_t text, size;  // place and length of its bytes
    uint64_t count;
  };

  template <class Cutter>
  void add_ordinary(Cutter cutter, const uint8_t* end) {
    const uint8_t* bounds[kBatch + kStartsSlack + 2];
    size_t starts = 0;
    while (!cutter.done()) {
      starts = static_cast<size_t>(cutter.write_starts(bounds + starts, kBatch - starts) - bounds);
      if (cutter.done()) bounds[starts++] = end;
      if (starts < 2) continue;
      add_batch(bounds, starts - 1, end);
      bounds[0] = bounds[starts - 1];
      starts = 1;
    }
  }

  void add_batch(const uint8_t* const* bounds, size_t count, const uint8_t* text_end) {
    struct Slot {
      PretokenKey key;
      uint64_t hash;
    } slots[kBatch + kStartsSlack + 1];
    for (size_t i = 0; i < count; ++i) {
      const size_t size = static_cast<size_t>(bounds[i + 1] - bounds[i]);
      if (size > kMaxShort) continue;
      slots[i].key = pretoken_key(bounds[i], size, text_end);
      slots[i].hash = hash_of(slots[i].key);
      BPE_TOK_PREFETCH(&shorts_[place_in(shorts_, slots[i].hash)]);
    }
    for (size_t i = 0; i < count; ++i) {
      const size_t size = static_cast<size_t>(bounds[i + 1] - bounds[i]);
      if (size > kMaxShort) add_long(bounds[i], size, 1);
      else add_short(slots[i].key, slots[i].hash, 1);
    }
  }

  // Capacities are powers of two.
  template <class Table>
  static size_t place_in(const Table& table, uint64_t hash) {
    return static_cast<size_t>(hash >> 16) & (table.size() - 1);
  }

  void add_short(const PretokenKey& key, uint64_t hash, uint64_t count) {
    size_t place = place_in(shorts_, hash);
    for (; shorts_[place].count; place = (place + 1) & (shorts_.size() - 1)) {
      if (shorts_[place].first == key.first && shorts_[place].second == key.second) {
        shorts_[place].count += count;
        return;
      }
    }
    shorts_[place] = {key.first, key.second, count};
    if (++num_shorts_ * 2 > shorts_.size()) grow_shorts();
  }

  void add_long(const uint8_t* text, size_t size, uint64_t count) {
    const uint64_t hash = hash_of(text, size);
    size_t place = place_in(longs_, hash);
    for (; longs_[place].count; place = (place + 1) & (longs_.size() - 1)) {
      LongCount& entry = longs_[place];
      if (entry.hash == hash && entry.size == size &&
          std::memcmp(long_text_.data() + entry.text, text, size) == 0) {
        entry.count += count;
        return;
      }
    }
    longs_[place] = {hash, long_text_.size(), size, count};
    long_text_.insert(long_text_.end(), text, text + size);
    if (++num_longs_ * 2 > longs_.size()) grow_longs();
  }

  void grow_shorts() {
    std::vector<ShortCount> larger(shorts_.size() * 2);
    for (const ShortCount& entry : shorts_) {
      if (entry.count == 0) continue;
      size_t place = place_in(larger, hash_of(entry.first, entry.second));
      while (larger[place].count) place = (place + 1) & (larger.size() - 1);
      larger[place] = entry;
    }
    shorts_.swap(larger);
  }

  void grow_longs() {
    std::vector<LongCount> larger(longs_.size() * 2);
    for (const LongCount& entry : longs_) {
      if (entry.count == 0) continue;
      size_t place = place_in(larger, entry.hash);
      while (larger[place].count) place = (place + 1) & (larger.size() - 1);
      larger[place] = entry;
    }
    longs_.swap(larger);
  }

  Pattern pattern_;
  Specials specials_;
  std::vector<ShortCount> shorts_;
  std::vector<LongCount> longs_;
  std::vector<uint8_t> long_text_;
  size_t num_shorts_ = 0;
  size_t num_longs_ = 0;
};

}  // namespace bpe_tok
