// Finding special tokens in text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

namespace bpe_tok {

class Specials {
 public:
  static constexpr size_t kNone = ~size_t{0};

  struct Match {
    const uint8_t* begin;
    const uint8_t* end;
    size_t index;  // kNone, and begin == end == the text's end, if there is none
  };

  explicit Specials(const std::vector<std::string>& tokens) : size_(tokens.size()) {
    for (size_t index = 0; index < tokens.size(); ++index) {
      uint32_t node = 0;
      for (const char c : tokens[index]) {
        const auto edge = edges_.try_emplace(edge_of(node, static_cast<uint8_t>(c)),
                                             static_cast<uint32_t>(index_at_.size()));
        if (edge.second) index_at_.push_back(kNone);
        node = edge.first->second;
      }
      index_at_[node] = index;
      const uint8_t first = static_cast<uint8_t>(tokens[index][0]);
      if (!is_first_[first]) first_bytes_.push_back(first);
      is_first_[first] = true;
    }
  }

  size_t size() const { return size_; }

  // The leftmost special token, and of those that start there the longest. `allowed` has a byte
  // for each token, 0 if it is to be passed over; nullptr allows all.
  Match find(const uint8_t* text, const uint8_t* end, const uint8_t* allowed) const {
    for (const uint8_t* p = candidate(text, end); p != end; p = candidate(p + 1, end)) {
      const Match match = longest_at(p, end, allowed);
      if (match.index != kNone) return match;
    }
    return {end, end, kNone};
  }

 private:
  static uint64_t edge_of(uint32_t node, uint8_t byte) {
    return static_cast<uint64_t>(node) << 8 | byte;
  }

  // The next byte that starts a token.
  const uint8_t* candidate(const uint8_t* p, const uint8_t* end) const {
    if (first_bytes_.empty() || p == end) return end;
    if (first_bytes_.size() == 1) {
      const void* found = std::memchr(p, first_bytes_[0], static_cast<size_t>(end - p));
      return found ? static_cast<const uint8_t*>(found) : end;
    }
    while (p != end && !is_first_[*p]) ++p;
    return p;
  }

  Match longest_at(const uint8_t* begin, const uint8_t* end, const uint8_t* allowed) const {
    Match longest{end, end, kNone};
    uint32_t node = 0;
    for (const uint8_t* p = begin; p != end; ++p) {
      const auto edge = edges_.find(edge_of(node, *p));
      if (edge == edges_.end()) break;
      node = edge->second;
      const size_t index = index_at_[node];
      if (index != kNone && (!allowed || allowed[index])) longest = {begin, p + 1, index};
    }
    return longest;
  }

  size_t size_;
  // A trie: from a node and a byte to a node; node 0 is the root.
  std::unordered_map<uint64_t, uint32_t> edges_;
  std::vector<size_t> index_at_{kNone};
  std::vector<uint8_t> first_bytes_;
  bool is_first_[256] = {};
};

}  // namespace bpe_tok
