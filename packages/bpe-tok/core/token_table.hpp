// The tokens of a vocabulary: bytes by id, and ids by bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "pretoken_key.hpp"

namespace bpe_tok {

class TokenTable {
 public:
  static constexpr uint32_t kAbsent = ~uint32_t{0};

  void reserve(size_t tokens) { ranges_.reserve(tokens); }

  // Adds the token of the next id.
  void add(const uint8_t* bytes, size_t size) {
    ranges_.push_back({bytes_.size(), size});
    bytes_.insert(bytes_.end(), bytes, bytes + size);
  }
  // Leaves the next id without a token.
  void skip() { ranges_.push_back({0, kUnused}); }

  // Makes the tokens of which `is_ordinary` holds known to `find`.
  template <class Predicate>
  void index(Predicate is_ordinary) {
    size_t capacity = 64;
    while (capacity < 2 * ranges_.size()) capacity *= 2;
    ids_.assign(capacity, kAbsent);
    for (uint32_t id = 0; id < ranges_.size(); ++id) {
      if (!has(id) || !is_ordinary(id)) continue;
      size_t place = place_of(data(id), size(id));
      while (ids_[place] != kAbsent) place = (place + 1) & (capacity - 1);
      ids_[place] = id;
    }
  }

  size_t count() const { return ranges_.size(); }
  bool has(size_t id) const { return id < ranges_.size() && ranges_[id].size != kUnused; }
  const uint8_t* data(size_t id) const { return bytes_.data() + ranges_[id].begin; }
  size_t size(size_t id) const { return ranges_[id].size; }

  // The id of an ordinary token, or kAbsent.
  uint32_t find(const uint8_t* bytes, size_t size) const {
    for (size_t place = place_of(bytes, size);; place = (place + 1) & (ids_.size() - 1)) {
      const uint32_t id = ids_[place];
      if (id == kAbsent) return kAbsent;
      if (ranges_[id].size == size && std::memcmp(data(id), bytes, size) == 0) return id;
    }
  }

 private:
  static constexpr size_t kUnused = ~size_t{0};
  struct Range {
    size_t begin, size;
  };

  size_t place_of(const uint8_t* bytes, size_t size) const {
    return (hash_of(bytes, size) >> 20) & (ids_.size() - 1);
  }

  std::vector<uint8_t> bytes_;
  std::vector<Range> ranges_;
  std::vector<uint32_t> ids_;  // open addressing
};

}  // namespace bpe_tok
