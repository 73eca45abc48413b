// A cache of bounded size from pretokens to their ids.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "byte_masks.hpp"
#include "compiler.hpp"
#include "pretoken_key.hpp"

namespace bpe_tok {

// Id is uint16_t where all ids fit, or uint32_t.
//
// A set is a cache line: ids in the first half and in the second the keys that they belong to. It
// has four entries of tiny pretokens (a key of one word, and 8 bytes of ids) or two of short ones
// (a key of two words, and 16 bytes of ids). Each kind has a table of its own, but a lookup is the
// same instructions for both: there is no branch on a pretoken's size, which no processor can
// predict.
template <class Id>
class PretokenCache {
 public:
  static constexpr size_t kMaxCached = 256;  // bytes; longer pretokens are rare

  struct alignas(64) Set {
    uint8_t ids[32];
    uint64_t keys[4];
  };

  // Pretokens of more than kMaxShort bytes, by their hash.
  struct LongEntry {
    uint64_t hash;
    uint32_t place;  // of its ids and then its bytes
    uint16_t size, count;
  };
  struct alignas(64) LongSet {
    LongEntry entries[4];
  };

  BPE_TOK_INLINE Set* set_of(const PretokenKey& key) {
    const Table& table = tables_[key.is_short];
    return table.sets + (hash_of(key) >> table.shift);
  }
  LongSet* long_set_of(uint64_t hash) { return long_sets_.get() + (hash >> (64 - kLongBits)); }

  // The number of a pretoken's ids, and then the ids: up to 3 of them (7 if it is short), or 1 (3)
  // wide ones. kAway in the number tells that in their stead is the place where they are.
  struct Found {
    const uint8_t* entry;  // nullptr if the pretoken is not in the set
    Id count() const {
      Id count;
      std::memcpy(&count, entry, sizeof count);
      return count;
    }
    // Writes 16 bytes, whatever the number of ids.
    BPE_TOK_INLINE void write(Id* out) const { std::memcpy(out, entry + sizeof(Id), 16); }
  };
  static constexpr Id kAway = static_cast<Id>(Id{1} << (8 * sizeof(Id) - 1));

  static BPE_TOK_INLINE Found find(const Set* set, const PretokenKey& key) {
    const uint8_t offset = kOffsets.by_halves[key.is_short][equal_halves(set->keys, key)];
    return {offset == kAbsent ? nullptr : set->ids + offset};
  }

  const Id* away(const Found& found) const {
    uint32_t place;
    std::memcpy(&place, found.entry + sizeof(Id), sizeof place);
    return &away_[place];
  }

  struct FoundLong {
    const Id* ids;  // nullptr if the pretoken is not in the set
    size_t count;
  };

  FoundLong find(const LongSet* set, uint64_t hash, const uint8_t* text, size_t size) const {
    for (const LongEntry& entry : set->entries) {
      if (entry.hash != hash || entry.size != size) continue;
      const Id* const ids = &away_[entry.place];
      if (std::memcmp(ids + entry.count, text, size) == 0) return {ids, entry.count};
    }
    return {nullptr, 0};
  }

  // Whether a table is to grow before more is inserted. The sets of its keys are others then.
  bool is_crowded() const { return is_crowded(0) || is_crowded(1); }
  void grow() {
    for (const bool is_short : {false, true})
      if (is_crowded(is_short)) grow(is_short);
  }

  void insert(Set* set, const PretokenKey& key, const Id* ids, size_t count) {
    const size_t width = key.is_short ? 16 : 8;
    uint8_t entry[16] = {};
    Id packed_count = static_cast<Id>(count);
    if ((count + 1) * sizeof(Id) <= width) {
      std::memcpy(entry + sizeof(Id), ids, count * sizeof(Id));
    } else {
      const uint32_t place = put_away(ids, count);
      std::memcpy(entry + sizeof(Id), &place, sizeof place);
      packed_count |= kAway;
    }
    std::memcpy(entry, &packed_count, sizeof packed_count);
    put(set, key, entry);
    ++tables_[key.is_short].inserted;
  }

  void insert(LongSet* set, uint64_t hash, const uint8_t* text, size_t size, const Id* ids,
              size_t count) {
    const uint32_t place = put_away(ids, count);
    away_.resize(away_.size() + (size + sizeof(Id) - 1) / sizeof(Id));
    std::memcpy(&away_[place + count], text, size);
    std::memmove(set->entries + 1, set->entries, 3 * sizeof(LongEntry));
    set->entries[0] = {hash, place, static_cast<uint16_t>(size), static_cast<uint16_t>(count)};
  }

 private:
  static constexpr unsigned kFirstBits = 10;           // 64 KiB each
  static constexpr unsigned kMaxBits[2] = {17, 19};    // 8 MiB and 32 MiB
  static constexpr unsigned kLongBits = 16;            // 4 MiB
  static constexpr size_t kMaxAway = size_t{1} << 24;  // ids

  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  // Zeros to begin with, which are the key of no pretoken, aligned to cache lines. calloc takes no
  // memory for what is never used. Lookups are all over a large table, so it had better be on few
  // pages.
  template <class T>
  class Zeros {
   public:
    explicit Zeros(size_t count) {
      constexpr size_t kLine = 64, kHugePage = size_t{1} << 21;
      const size_t bytes = count * sizeof(T);
      const size_t alignment = bytes < kHugePage ? kLine : kHugePage;
      memory_.reset(std::calloc(bytes + alignment, 1));
      if (!memory_) throw std::bad_alloc();
      const auto address = reinterpret_cast<uintptr_t>(memory_.get());
      first_ = reinterpret_cast<T*>((address + alignment - 1) & ~(alignment - 1));
#if defined(__linux__)
      if (alignment == kHugePage) madvise(first_, bytes, MADV_HUGEPAGE);
#endif
    }
    T* get() const { return first_; }

   private:
    std::unique_ptr<void, Free> memory_;
    T* first_;
  };

  struct Table {
    explicit Table(unsigned log2_sets) : bits(log2_sets), memory(size_t{1} << log2_sets) {}
    unsigned bits;
    unsigned shift = 64 - bits;
    Zeros<Set> memory;
    Set* sets = memory.get();
    size_t inserted = 0;
  };

  bool is_crowded(bool is_short) const {
    const Table& table = tables_[is_short];
    const size_t entries = size_t{is_short ? 2u : 4u} << table.bits;
    return table.inserted > entries / 2 && table.bits < kMaxBits[is_short];
  }

  void grow(bool is_short) {
    Table& table = tables_[is_short];
    Table larger(std::min(table.bits + 2, kMaxBits[is_short]));
    larger.inserted = table.inserted;
    std::swap(table, larger);
    const size_t width = is_short ? 16 : 8, words = width / 8;
    for (size_t i = 0; i < size_t{1} << larger.bits; ++i) {
      const Set& set = larger.sets[i];
      for (size_t word = 4; word > 0;) {
        word -= words;  // the newest last
        const PretokenKey key{set.keys[word], set.keys[word + words - 1], is_short};
        if (key.first) put(set_of(key), key, set.ids + word * 8);
      }
    }
  }

  // The newest entry of a set comes first, and the oldest goes.
  static void put(Set* set, const PretokenKey& key, const uint8_t* entry) {
    const size_t width = key.is_short ? 16 : 8;
    std::memmove(set->ids + width, set->ids, sizeof set->ids - width);
    std::memmove(set->keys + width / 8, set->keys, sizeof set->keys - width);
    std::memcpy(set->ids, entry, width);
    set->keys[0] = key.first;
    if (key.is_short) set->keys[1] = key.second;
  }

  // A bit for each 4 bytes of the keys that equal the wanted ones: 0 to 7.
  static BPE_TOK_INLINE unsigned equal_halves(const uint64_t* keys, const PretokenKey& key) {
#if defined(BPE_TOK_SSE2)
    const __m128i wanted = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&key.first));
    const __m128i* words = reinterpret_cast<const __m128i*>(keys);
    const __m128i equal = _mm_packs_epi32(_mm_cmpeq_epi32(_mm_load_si128(words), wanted),
                                          _mm_cmpeq_epi32(_mm_load_si128(words + 1), wanted));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(equal, equal))) & 0xFF;
#else
    return (keys[0] == key.first ? 3 : 0) | (keys[1] == key.second ? 12 : 0) |
           (keys[2] == key.first ? 48 : 0) | (keys[3] == key.second ? 192 : 0);
#endif
  }

  // Where in a set's ids the entry is.
  static constexpr uint8_t kAbsent = 0xFF;
  struct Offsets {
    uint8_t by_halves[2][256];
    constexpr Offsets() : by_halves() {
      for (unsigned halves = 0; halves < 256; ++halves) {
        by_halves[0][halves] = by_halves[1][halves] = kAbsent;
        for (unsigned word = 4; word-- > 0;)
          if ((halves >> 2 * word & 3) == 3) by_halves[0][halves] = static_cast<uint8_t>(8 * word);
        if ((halves & 0xF0) == 0xF0) by_halves[1][halves] = 16;
        if ((halves & 0x0F) == 0x0F) by_halves[1][halves] = 0;
      }
    }
  };
  static constexpr Offsets kOffsets{};

  uint32_t put_away(const Id* ids, size_t count) {
    if (away_.size() > kMaxAway) forget();
    const uint32_t place = static_cast<uint32_t>(away_.size());
    away_.insert(away_.end(), ids, ids + count);
    return place;
  }

  void forget() {
    for (Table& table : tables_)
      std::memset(static_cast<void*>(table.sets), 0, sizeof(Set) << table.bits);
    std::memset(static_cast<void*>(long_sets_.get()), 0, sizeof(LongSet) << kLongBits);
    away_.clear();
  }

  Table tables_[2] = {Table(kFirstBits), Table(kFirstBits)};  // tiny and short
  Zeros<LongSet> long_sets_{size_t{1} << kLongBits};
  std::vector<Id> away_;  // ids that an entry has no room for, and the bytes of long pretokens
};

}  // namespace bpe_tok
