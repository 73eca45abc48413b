// The order in which pairs are learned.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bpe_tok {
namespace learning {

// While merges are learned, ids are one higher than outside: 0 is no token, which is what stands
// between words and inside of tokens.
using Id = uint32_t;
constexpr Id kNone = 0;
constexpr Id kFirstByte = 1;

// The bytes of tokens, as far as needed to put them in order.
class TokenOrder {
 public:
  TokenOrder() {
    tokens_.push_back({});
    for (uint64_t byte = 0; byte < 256; ++byte) tokens_.push_back({byte << 56, 1, kNone, kNone});
  }

  Id join(Id left, Id right) {
    const Token& a = tokens_[left];
    const Token& b = tokens_[right];
    const uint64_t head = a.size < 8 ? a.head | b.head >> (8 * a.size) : a.head;
    tokens_.push_back({head, a.size + b.size, left, right});
    return static_cast<Id>(tokens_.size() - 1);
  }

  size_t size() const { return tokens_.size(); }

  // Negative, 0 or positive, as memcmp; a token that another one begins with is less.
  int compare(Id a, Id b) const {
    if (a == b) return 0;
    const Token& x = tokens_[a];
    const Token& y = tokens_[b];
    if (x.head != y.head) return x.head < y.head ? -1 : 1;
    if (x.size <= 8 && y.size <= 8) return (x.size > y.size) - (x.size < y.size);
    return compare_long(a, b);
  }

 private:
  struct Token {
    uint64_t head = 0;  // the first eight bytes as a number, the first highest; zeros if fewer
    uint64_t size = 0;  // in bytes
    Id left = kNone, right = kNone;
  };

  // Walks along the leaves of both tokens' trees, passing over what they have in common. The
  // bytes themselves are not stored: they could take the square of the number of merges.
  int compare_long(Id a, Id b) const {
    std::vector<Id> as{a}, bs{b};  // what is still to be compared, the next last
    while (!as.empty() && !bs.empty()) {
      a = as.back();
      b = bs.back();
      if (a != b) {
        const Token& x = tokens_[a];
        const Token& y = tokens_[b];
        const uint64_t common = std::min<uint64_t>(std::min(x.size, y.size), 8);
        const uint64_t differ = (x.head ^ y.head) >> (64 - 8 * common);
        if (differ) return x.head < y.head ? -1 : 1;
        if (x.size != y.size || x.size > 8) {
          if (x.size >= y.size) split(as);
          if (y.size >= x.size) split(bs);
          continue;
        }
      }
      as.pop_back();
      bs.pop_back();
    }
    return static_cast<int>(bs.empty()) - static_cast<int>(as.empty());
  }

  void split(std::vector<Id>& ids) const {
    const Token& token = tokens_[ids.back()];
    ids.back() = token.right;
    ids.push_back(token.left);
  }

  std::vector<Token> tokens_;
};

// A pair waiting to be learned. The count is what it was when this was put in the queue.
struct Candidate {
  uint64_t count;
  Id left, right;
};

// A heap with the candidate to learn next at the top.
class CandidateQueue {
 public:
  explicit CandidateQueue(const TokenOrder& tokens) : tokens_(tokens) {}

  bool empty() const { return heap_.empty(); }
  const Candidate& top() const { return heap_.front(); }

  void push(const Candidate& candidate) {
    size_t place = heap_.size();
    heap_.push_back(candidate);
    while (place > 0) {
      const size_t parent = (place - 1) / kChildren;
      if (!before(candidate, heap_[parent])) break;
      heap_[place] = heap_[parent];
      place = parent;
    }
    heap_[place] = candidate;
  }

  void pop() {
    const Candidate last = heap_.back();
    heap_.pop_back();
    if (!heap_.empty()) replace_top(last);
  }

  void lower_top(uint64_t count) {
    Candidate candidate = top();
    candidate.count = count;
    replace_top(candidate);
  }

 private:
  static constexpr size_t kChildren = 4;  // of each place; they share a cache line

  void replace_top(const Candidate& candidate) {
    size_t place = 0;
    for (;;) {
      const size_t first = place * kChildren + 1;
      if (first >= heap_.size()) break;
      const size_t end = std::min(first + kChildren, heap_.size());
      size_t best = first;
      for (size_t child = first + 1; child < end; ++child)
        if (before(heap_[child], heap_[best])) best = child;
      if (!before(heap_[best], candidate)) break;
      heap_[place] = heap_[best];
      place = best;
    }
    heap_[place] = candidate;
  }

  bool before(const Candidate& a, const Candidate& b) const {
    if (a.count != b.count) return a.count > b.count;
    if (const int order = tokens_.compare(a.left, b.left)) return order > 0;
    if (const int order = tokens_.compare(a.right, b.right)) return order > 0;
    // The same bytes may have been joined in different ways; the older one goes first.
    return a.left != b.left ? a.left < b.left : a.right < b.right;
  }

  const TokenOrder& tokens_;
  std::vector<Candidate> heap_;
};

}  // namespace learning
}  // namespace bpe_tok
