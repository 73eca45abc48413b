// The merges of a tokenizer, and merging the bytes of one pretoken by them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "compiler.hpp"

namespace bpe_tok {

// So that two ids and a rank fit 64 bits: the table is the memory that a new pretoken waits for.
constexpr unsigned kIdBits = 21;
constexpr unsigned kRankBits = 22;
constexpr uint32_t kMaxTokens = 1u << kIdBits;  // less one, which stands for none
constexpr uint32_t kNoRank = (1u << kRankBits) - 1;
constexpr uint32_t kMaxMerges = kNoRank;
constexpr size_t kMaxLong = 0xFFFFFFFE;  // bytes in one pretoken

class Merges {
 public:
  struct Merge {
    uint32_t left, right, rank, whole;
  };

  // `byte_ids`: the token of each of the 256 bytes. Ranks are less than `kMaxMerges`. Of merges of
  // the same pair only the first counts; `num_distinct` tells how many there are.
  Merges(std::vector<uint32_t> byte_ids, const std::vector<Merge>& merges)
      : byte_ids_(std::move(byte_ids)), byte_pairs_(1 << 16, kNoRank) {
    std::vector<int32_t> byte_of(1 + *std::max_element(byte_ids_.begin(), byte_ids_.end()), -1);
    for (int byte = 0; byte < 256; ++byte) byte_of[byte_ids_[byte]] = byte;
    const auto is_byte = [&](uint32_t id) { return id < byte_of.size() && byte_of[id] >= 0; };

    unsigned bits = 6;
    while ((size_t{1} << bits) < 2 * merges.size()) ++bits;
    const unsigned most_bits = bits + 4;
    while (!fill_table(merges, bits))
      if (++bits > most_bits) throw std::length_error("merges that no hash table can hold");
    for (const Merge& merge : merges) {
      if (rank(merge.left, merge.right) != merge.rank) continue;
      if (merge.rank >= wholes_.size()) wholes_.resize(merge.rank + 1);
      wholes_[merge.rank] = merge.whole;
      ++num_distinct_;
      if (is_byte(merge.left) && is_byte(merge.right))
        byte_pairs_[static_cast<size_t>(byte_of[merge.left]) << 8 | byte_of[merge.right]] =
            merge.rank;
    }
    if (!wholes_.empty()) first_whole_ = wholes_[0];
    for (size_t rank = 0; rank < wholes_.size(); ++rank)
      consecutive_ = consecutive_ && wholes_[rank] == first_whole_ + rank;
  }

  size_t num_distinct() const { return num_distinct_; }

  // The rank of a pair of ids, or kNoRank. The pair is at one of two places, if at all, and there
  // is no branch on which: nothing could predict it.
  BPE_TOK_INLINE uint32_t rank(uint32_t left, uint32_t right) const {
    const uint64_t key = key_of(left, right);
    const uint64_t hash = hash_of(key);
    const uint64_t first = table_[first_place(hash)];
    const uint64_t second = table_[second_place(hash)];
    const uint64_t entry = second >> kRankBits == key ? second : first;
    return entry >> kRankBits == key ? entry & kNoRank : kNoRank;
  }

  // Writes the ids of a pretoken's bytes; there is room for `size` of them. Returns their number.
  template <class Id>
  size_t merge(const uint8_t* bytes, size_t size, Id* ids) const {
    if (size == 1) {
      ids[0] = static_cast<Id>(byte_ids_[bytes[0]]);
      return 1;
    }
    if (size <= 16) return merge_grouped<1, 16>(bytes, static_cast<unsigned>(size), ids);
    if (size <= 64) return merge_grouped<8, 8>(bytes, static_cast<unsigned>(size), ids);
    if (size <= 256) return merge_grouped<16, 16>(bytes, static_cast<unsigned>(size), ids);
    return merge_long(bytes, size, ids);
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static constexpr uint32_t kNoToken = kMaxTokens - 1;

  static uint64_t key_of(uint32_t left, uint32_t right) {
    return static_cast<uint64_t>(left) << kIdBits | right;
  }
  static uint64_t hash_of(uint64_t key) { return key * 0x9E3779B97F4A7C15u; }
  size_t first_place(uint64_t hash) const { return hash >> shift_; }
  size_t second_place(uint64_t hash) const {
    return (hash ^ hash >> 31) * 0xD6E8FEB86659FD93u >> shift_;
  }
  uint32_t whole(uint32_t rank) const {
    return consecutive_ ? first_whole_ + rank : wholes_[rank];
  }

  // Cuckoo hashing: an entry whose places are taken drives one out, which goes to its other place.
  // Fails if that has no end.
  bool fill_table(const std::vector<Merge>& merges, unsigned bits) {
    shift_ = 64 - bits;
    table_.assign(size_t{1} << bits, kEmpty);
    for (const Merge& merge : merges) {
      if (rank(merge.left, merge.right) != kNoRank) continue;
      uint64_t entry = key_of(merge.left, merge.right) << kRankBits | merge.rank;
      size_t place = first_place(hash_of(entry >> kRankBits));
      for (int moves = 0; entry != kEmpty; ++moves) {
        if (moves == 500) return false;
        std::swap(entry, table_[place]);
        const uint64_t hash = hash_of(entry >> kRankBits);
        place = place == first_place(hash) ? second_place(hash) : first_place(hash);
      }
    }
    return true;
  }

  // A pair of a part and the next stands at the part's place, as its rank and then the place: the
  // least of all is the leftmost of the lowest rank. The least of each group is kept. All loops
  // have a fixed length, and the ends of the text are parts that merge with nothing, for a branch
  // that is taken or not at random costs more than either way.
  template <unsigned kGroups, unsigned kGroup, class Id>
  BPE_TOK_NOINLINE size_t merge_grouped(const uint8_t* bytes, unsigned size, Id* ids) const {
    constexpr unsigned kPlaces = kGroups * kGroup;
    constexpr uint64_t kLast = ~uint64_t{0};
    const unsigned after_end = size, before_start = size + 1;
    uint32_t parts[kPlaces + 2];
    uint16_t next[kPlaces + 2], previous[kPlaces + 2];
    uint64_t pairs[kPlaces + kGroup + 2];
    uint64_t least[kGroups + 1];
    const auto ranked = [](uint32_t rank, unsigned place) {
      return static_cast<uint64_t>(rank) << 16 | place;
    };
    const auto least_of = [](const uint64_t* values, auto count) {
      uint64_t a = values[0], b = values[1];
      for (unsigned i = 2; i + 1 < count; i += 2) {
        a = std::min(a, values[i]);
        b = std::min(b, values[i + 1]);
      }
      return std::min(a, b);
    };
    using Group = std::integral_constant<unsigned, kGroup>;
    using Groups = std::integral_constant<unsigned, kGroups>;

    std::fill(pairs, pairs + kPlaces + kGroup + 2, kLast);
    for (unsigned i = 0; i < size; ++i) {
      parts[i] = byte_ids_[bytes[i]];
      next[i] = static_cast<uint16_t>(i + 1);
      previous[i] = static_cast<uint16_t>(i - 1);
    }
    previous[0] = static_cast<uint16_t>(before_start);
    parts[after_end] = parts[before_start] = kNoToken;
    for (unsigned i = 0; i + 1 < size; ++i)
      pairs[i] = ranked(byte_pairs_[static_cast<size_t>(bytes[i]) << 8 | bytes[i + 1]], i);
    if constexpr (kGroups > 1)
      for (unsigned group = 0; group < kGroups; ++group)
        least[group] = least_of(pairs + group * kGroup, Group{});

    for (;;) {
      const uint64_t best = kGroups > 1 ? least_of(least, Groups{}) : least_of(pairs, Group{});
      const uint32_t best_rank = static_cast<uint32_t>(best >> 16);
      if (best >> 16 >= kNoRank) break;
      const unsigned left = best & 0xFFFF;
      const unsigned right = next[left], after = next[right], before = previous[left];
      const uint32_t merged = whole(best_rank);
      parts[left] = merged;
      next[left] = static_cast<uint16_t>(after);
      previous[after] = static_cast<uint16_t>(left);
      pairs[right] = kLast;
      pairs[left] = ranked(rank(merged, parts[after]), left);
      pairs[before] = ranked(rank(parts[before], merged), before);
      if constexpr (kGroups > 1)
        for (const unsigned place : {left, right, before})
          least[place / kGroup] = least_of(pairs + place / kGroup * kGroup, Group{});
    }
    size_t count = 0;
    for (unsigned i = 0; i != after_end; i = next[i]) ids[count++] = static_cast<Id>(parts[i]);
    return count;
  }

  // In n log n steps: a linked list of parts, and a heap of pairs, each its rank and its place.
  template <class Id>
  size_t merge_long(const uint8_t* bytes, size_t size, Id* ids) const {
    if (size > kMaxLong) throw std::length_error("a pretoken of 4 GiB or more");
    constexpr uint32_t kGone = ~uint32_t{0};
    struct Part {
      uint32_t id, before, after;
    };
    const uint32_t end = static_cast<uint32_t>(size);
    std::vector<Part> parts(size);
    std::vector<uint64_t> pairs;
    const auto ranked = [](uint32_t rank, uint32_t place) {
      return static_cast<uint64_t>(rank) << 32 | place;
    };
    for (uint32_t i = 0; i < end; ++i) parts[i] = {byte_ids_[bytes[i]], i - 1, i + 1};
    for (uint32_t i = 0; i + 1 < end; ++i) {
      const uint32_t rank = byte_pairs_[static_cast<size_t>(bytes[i]) << 8 | bytes[i + 1]];
      if (rank != kNoRank) pairs.push_back(ranked(rank, i));
    }
    std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<uint64_t>> queue(
        std::greater<uint64_t>(), std::move(pairs));
    while (!queue.empty()) {
      const uint32_t best_rank = static_cast<uint32_t>(queue.top() >> 32);
      const uint32_t place = static_cast<uint32_t>(queue.top());
      queue.pop();
      Part& left = parts[place];
      // The pair is no longer there if either part has been merged since.
      if (left.id == kGone || left.after == end || rank(left.id, parts[left.after].id) != best_rank)
        continue;
      Part& right = parts[left.after];
      left.id = whole(best_rank);
      right.id = kGone;
      left.after = right.after;
      if (left.after != end) {
        parts[left.after].before = place;
        const uint32_t next_rank = rank(left.id, parts[left.after].id);
        if (next_rank != kNoRank) queue.push(ranked(next_rank, place));
      }
      if (place != 0) {
        const uint32_t previous_rank = rank(parts[left.before].id, left.id);
        if (previous_rank != kNoRank) queue.push(ranked(previous_rank, left.before));
      }
    }
    size_t count = 0;
    for (uint32_t i = 0; i != end; i = parts[i].after) ids[count++] = static_cast<Id>(parts[i].id);
    return count;
  }

  std::vector<uint32_t> byte_ids_;
  std::vector<uint32_t> byte_pairs_;  // rank by two bytes
  std::vector<uint64_t> table_;       // pairs and their ranks
  unsigned shift_ = 0;
  size_t num_distinct_ = 0;
  std::vector<uint32_t> wholes_;  // by rank
  uint32_t first_whole_ = 0;
  bool consecutive_ = true;  // the whole of a rank is first_whole_ + rank
};

}  // namespace bpe_tok
