// The pairs that may be learned next, and where they occur.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "compiler.hpp"
#include "token_order.hpp"

namespace bpe_tok {
namespace learning {

// Memory for lists of places. Nothing is given back before all is.
template <class Place>
class PlaceArena {
 public:
  Place* allocate(size_t size) {
    for (Piece* piece : {&recycled_, &block_})
      if (size <= static_cast<size_t>(piece->end - piece->begin)) return take(*piece, size);
    const size_t block_size = std::max(size, kBlockSize);
    blocks_.emplace_back(new Place[block_size]);
    Place* const begin = blocks_.back().get();
    if (size == block_size) return begin;
    block_ = {begin, begin + block_size};
    return take(block_, size);
  }

  // The places of a joined pair make room for those of the pairs that this makes.
  void recycle(Place* begin, size_t size) {
    if (size > static_cast<size_t>(recycled_.end - recycled_.begin))
      recycled_ = {begin, begin + size};
  }

  void clear() {
    recycled_ = block_ = {};
    blocks_.clear();
  }

 private:
  static constexpr size_t kBlockSize = 1 << 15;

  struct Piece {
    Place* begin = nullptr;
    Place* end = nullptr;
  };

  static Place* take(Piece& piece, size_t size) {
    Place* const begin = piece.begin;
    piece.begin += size;
    return begin;
  }

  std::vector<std::unique_ptr<Place[]>> blocks_;
  Piece recycled_, block_;
};

// A pair of neighbouring tokens, how often it occurs and where.
template <class Place>
struct Pair {
  uint64_t count;
  Place* places;  // in increasing order; some may be out of date
  size_t num_places;
  Id left, right;
};

// The pairs, in the order of insertion, and a hash table to find them; open addressing.
template <class Place>
class PairTable {
 public:
  PairTable() { clear(); }

  void clear() {
    std::vector<Pair<Place>>().swap(pairs_);
    resize(kFirstBits);
  }

  // A reference is good until the next insertion.
  Pair<Place>& operator[](size_t index) { return pairs_[index]; }
  size_t size() const { return pairs_.size(); }

  Pair<Place>* find(Id left, Id right) {
    const uint64_t key = key_of(left, right);
    for (size_t slot = first_slot(key);; slot = next(slot)) {
      if (keys_[slot] == key) return &pairs_[indices_[slot]];
      if (keys_[slot] == kFree) return nullptr;
    }
  }

  void prefetch(Id left, Id right) const {
    const size_t slot = first_slot(key_of(left, right));
    BPE_TOK_PREFETCH(&keys_[slot]);
    BPE_TOK_PREFETCH(&indices_[slot]);
  }

  // The index of the pair.
  uint32_t find_or_insert(Id left, Id right) {
    const uint64_t key = key_of(left, right);
    size_t slot = first_slot(key);
    for (; keys_[slot] != kFree; slot = next(slot))
      if (keys_[slot] == key) return indices_[slot];
    pairs_.push_back({0, nullptr, 0, left, right});
    const uint32_t index = static_cast<uint32_t>(pairs_.size() - 1);
    if (pairs_.size() * 2 > keys_.size()) {
      grow();
    } else {
      keys_[slot] = key;
      indices_[slot] = index;
    }
    return index;
  }

 private:
  static constexpr unsigned kFirstBits = 10;
  static constexpr uint64_t kFree = ~uint64_t{0};

  static uint64_t key_of(Id left, Id right) { return uint64_t{left} << 32 | right; }
  size_t first_slot(uint64_t key) const { return key * 0x9E3779B97F4A7C15u >> shift_; }
  size_t next(size_t slot) const { return (slot + 1) & (keys_.size() - 1); }

  void resize(unsigned bits) {
    shift_ = 64 - bits;
    std::vector<uint64_t>(size_t{1} << bits, kFree).swap(keys_);
    std::vector<uint32_t>(size_t{1} << bits).swap(indices_);
  }

  void grow() {
    resize(64 - shift_ + 1);
    for (size_t index = 0; index < pairs_.size(); ++index) {
      const uint64_t key = key_of(pairs_[index].left, pairs_[index].right);
      size_t slot = first_slot(key);
      while (keys_[slot] != kFree) slot = next(slot);
      keys_[slot] = key;
      indices_[slot] = static_cast<uint32_t>(index);
    }
  }

  std::vector<Pair<Place>> pairs_;
  // Most look-ups are for pairs that are not here, and need the keys alone.
  std::vector<uint64_t> keys_;
  std::vector<uint32_t> indices_;
  unsigned shift_;
};

// How often the pairs of equal hash occur together: enough to tell that most pairs are rare
// without storing each of them.
class PairSums {
 public:
  PairSums() : sums_(kSums + 1) {}

  // Either may be `kNone`.
  void add(Id left, Id right, uint64_t count) {
    uint32_t& sum = sums_[hash(left, right)];
    sum = static_cast<uint32_t>(std::min<uint64_t>(sum + count, kMax));
  }

  // What is no pair counts as rare from now on.
  void finish() { sums_[kSums] = 0; }

  // Whether the pair may occur `count` times, of 1 or more.
  bool may_occur(Id left, Id right, uint64_t count) const {
    return sums_[hash(left, right)] >= static_cast<uint32_t>(std::min(count, kMax));
  }

 private:
  static constexpr unsigned kBits = 17;
  static constexpr size_t kSums = size_t{1} << kBits;
  static constexpr uint64_t kMax = std::numeric_limits<uint32_t>::max();

  static size_t hash(Id left, Id right) {
    const uint64_t mixed = (left * 0x9E3779B97F4A7C15u + right) * 0xD6E8FEB86659FD93u;
    return left == kNone || right == kNone ? kSums : static_cast<size_t>(mixed >> (64 - kBits));
  }

  std::vector<uint32_t> sums_;  // the last one is of what is no pair
};

}  // namespace learning
}  // namespace bpe_tok
