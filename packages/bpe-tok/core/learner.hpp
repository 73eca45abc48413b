// Learning merges: join the most frequent pair of tokens, again and again.
//
// How it works. All distinct words (pretokens) lie one after another in one array of cells, and an
// index tells where each pair of neighbouring tokens begins. To join a pair is to visit the places
// in its list. A token of several cells has its id in its first and in its last cell, so both
// neighbours of a place are found without a search and without links, in a word of any length.
//
// Pairs are learned in rounds. A round indexes only the pairs that occur at least `threshold_`
// times: a pair never becomes more frequent once it is made, so the others cannot be the best
// before all those are used up. Then the next round begins with a lower threshold: the cells are
// compacted to one for each token, and indexed anew. So rare pairs, by far the most, are neither
// stored nor counted while they do not matter.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace bpe_tok {
namespace learning {

// Inside, ids are one higher than outside: 0 is no token (between words, or inside of a token).
using Id = uint32_t;
constexpr Id kNone = 0;
constexpr Id kFirstByte = 1;

inline void prefetch(const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address);
#else
  (void)address;
#endif
}

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

// A hash table from pair to how often it occurs and where; open addressing.
template <class Place>
class PairTable {
 public:
  struct List {
    Place* begin = nullptr;
    size_t size = 0;
  };

  static constexpr size_t kMissing = ~size_t{0};

  PairTable() { reset(); }

  void reset() {
    used_ = 0;
    resize(kFirstBits);
  }

  size_t find(Id left, Id right) const {
    const uint64_t key = key_of(left, right);
    for (size_t slot = first_slot(key);; slot = next(slot)) {
      if (keys_[slot] == key) return slot;
      if (keys_[slot] == kFree) return kMissing;
    }
  }

  size_t find_or_insert(Id left, Id right) {
    const uint64_t key = key_of(left, right);
    size_t slot = first_slot(key);
    for (; keys_[slot] != kFree; slot = next(slot))
      if (keys_[slot] == key) return slot;
    if (++used_ * 2 > keys_.size()) {
      grow();
      slot = free_slot(key);
    }
    keys_[slot] = key;
    return slot;
  }

  void erase(size_t slot) { keys_[slot] = kErased; }

  uint64_t& count(size_t slot) { return counts_[slot]; }
  List& list(size_t slot) { return lists_[slot]; }

  // Calls visit(left, right, slot) for each pair.
  template <class Visit>
  void for_each(Visit visit) {
    for (size_t slot = 0; slot < keys_.size(); ++slot)
      if (keys_[slot] < kErased)
        visit(static_cast<Id>(keys_[slot] >> 32), static_cast<Id>(keys_[slot]), slot);
  }

 private:
  static constexpr unsigned kFirstBits = 10;
  static constexpr uint64_t kFree = ~uint64_t{0};
  static constexpr uint64_t kErased = kFree - 1;

  static uint64_t key_of(Id left, Id right) { return uint64_t{left} << 32 | right; }
  size_t first_slot(uint64_t key) const { return key * 0x9E3779B97F4A7C15u >> shift_; }
  size_t next(size_t slot) const { return (slot + 1) & (keys_.size() - 1); }

  size_t free_slot(uint64_t key) const {
    size_t slot = first_slot(key);
    while (keys_[slot] != kFree) slot = next(slot);
    return slot;
  }

  void resize(unsigned bits) {
    shift_ = 64 - bits;
    keys_.assign(size_t{1} << bits, kFree);
    counts_.assign(size_t{1} << bits, 0);
    lists_.assign(size_t{1} << bits, {});
  }

  void grow() {
    PairTable old;
    std::swap(*this, old);
    resize(64 - old.shift_ + 1);
    used_ = 1;  // the pair for which it grows
    old.for_each([&](Id left, Id right, size_t old_slot) {
      const uint64_t key = key_of(left, right);
      const size_t slot = free_slot(key);
      keys_[slot] = key;
      counts_[slot] = old.counts_[old_slot];
      lists_[slot] = old.lists_[old_slot];
      ++used_;
    });
  }

  // Apart, since most look-ups are for pairs that are not here and need the keys alone.
  std::vector<uint64_t> keys_;
  std::vector<uint64_t> counts_;
  std::vector<List> lists_;
  size_t used_;
  unsigned shift_;
};

// How often the word at a place occurs. Words lie in order of that, so equal ones form runs.
template <class Place>
class WordCounts {
 public:
  void clear() { runs_.clear(); }

  // All places from the end of the last run to `end` belong to words that occur `count` times.
  void add(Place end, uint64_t count) {
    if (!runs_.empty() && runs_.back().count == count) runs_.back().end = end;
    else runs_.push_back({end, count});
  }

  // To be called when all runs are added.
  void finish() {
    blocks_.clear();
    const size_t end = runs_.empty() ? 0 : size_t{runs_.back().end};
    size_t run = 0;
    for (size_t place = 0; place < end; place += kBlock) {
      while (runs_[run].end <= place) ++run;
      blocks_.push_back(static_cast<Place>(run));
    }
  }

  struct Run {
    Place end;
    uint64_t count;
  };

  const std::vector<Run>& runs() const { return runs_; }

  const Run& at(Place place) const {
    size_t run = blocks_[place / kBlock];
    while (runs_[run].end <= place) ++run;
    return runs_[run];
  }

 private:
  static constexpr size_t kBlock = 64;

  std::vector<Run> runs_;
  std::vector<Place> blocks_;  // the run at the beginning of each block of places
};

}  // namespace learning

// Learns the merges of byte-pair encoding from the pretokens of a corpus. `Place` is an integer
// wide enough for the bytes of all of them and one more for each.
template <class Place>
class LearnerOf {
 public:
  // Takes distinct pretokens, their bytes one after another, and how often each occurs.
  LearnerOf(std::vector<uint8_t>&& bytes, std::vector<uint32_t>&& lengths,
            std::vector<uint64_t>&& counts, uint64_t min_frequency)
      : min_frequency_(std::max<uint64_t>(min_frequency, 1)), queue_(tokens_) {
    lay_out(std::move(bytes), std::move(lengths), std::move(counts));
    spans_.assign(tokens_.size(), 1);
    before_.resize(tokens_.size());
    after_.resize(tokens_.size());
    index_pairs();
  }

  // The next merges, at most `num`; fewer if no pair is left that is frequent enough. A token is
  // the number of a byte, or 256 + k for what merge k makes.
  std::vector<std::pair<uint32_t, uint32_t>> learn(size_t num) {
    std::vector<std::pair<uint32_t, uint32_t>> merges;
    while (merges.size() < num) {
      if (queue_.empty()) {
        if (threshold_ == min_frequency_) break;
        begin_round();
        continue;
      }
      const Candidate best = queue_.top();
      const size_t slot = pairs_.find(best.left, best.right);
      const uint64_t count = pairs_.count(slot);
      if (count < threshold_) {
        queue_.pop();
      } else if (count < best.count) {
        queue_.lower_top(count);
      } else {
        queue_.pop();
        merges.emplace_back(best.left - learning::kFirstByte, best.right - learning::kFirstByte);
        join(best.left, best.right, slot);
      }
    }
    return merges;
  }

 private:
  using Id = learning::Id;
  using Candidate = learning::Candidate;
  using List = typename learning::PairTable<Place>::List;
  static constexpr Id kNone = learning::kNone;

  struct Word {
    uint64_t count;
    size_t begin;
    uint32_t length;
  };

  // What is gathered about one neighbour while a pair is joined.
  struct Neighbour {
    uint64_t count = 0;
    Place places = 0;
    Place* list = nullptr;  // where to write the places of the pair that it now is in
  };

  struct Joint {
    Place place;
    Id before, after;
  };

  // Words that occur equally often lie together, the more frequent ones first.
  void lay_out(std::vector<uint8_t>&& bytes_in, std::vector<uint32_t>&& lengths_in,
               std::vector<uint64_t>&& counts_in) {
    const std::vector<uint8_t> bytes = std::move(bytes_in);
    const std::vector<Word> words =
        sorted(std::vector<uint32_t>(std::move(lengths_in)),
               std::vector<uint64_t>(std::move(counts_in)));
    size_t size = 1;
    for (const Word& word : words) size += word.length + size_t{1};
    cells_.reserve(size);
    cells_.push_back(kNone);
    for (const Word& word : words) {
      for (size_t i = 0; i < word.length; ++i)
        cells_.push_back(learning::kFirstByte + bytes[word.begin + i]);
      cells_.push_back(kNone);
      word_counts_.add(static_cast<Place>(cells_.size()), word.count);
    }
    word_counts_.finish();
  }

  // Without the words that hold no pair. Most words are rare, so nearly all are put in order by
  // counting.
  static std::vector<Word> sorted(const std::vector<uint32_t>& lengths,
                                  const std::vector<uint64_t>& counts) {
    constexpr uint64_t kRare = 1 << 12;
    std::vector<size_t> places(kRare + 1);
    const auto class_of = [=](uint64_t count) { return kRare - std::min(count, kRare); };
    for (size_t i = 0; i < counts.size(); ++i)
      if (lengths[i] > 1 && counts[i] > 0) ++places[class_of(counts[i])];
    size_t size = 0;
    for (size_t& place : places) size += std::exchange(place, size);
    std::vector<Word> words(size);
    size_t begin = 0;
    for (size_t i = 0; i < counts.size(); begin += lengths[i++])
      if (lengths[i] > 1 && counts[i] > 0)
        words[places[class_of(counts[i])]++] = {counts[i], begin, lengths[i]};
    std::sort(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(places[0]),
              [](const Word& a, const Word& b) { return a.count > b.count; });
    return words;
  }

  // Calls visit(place, left, right, count of the word) for each pair; a token is one cell each.
  template <class Visit>
  void for_each_pair(Visit visit) const {
    size_t place = 1;
    for (const auto& run : word_counts_.runs())
      for (; place < run.end; ++place)
        if (cells_[place - 1] != kNone && cells_[place] != kNone)
          visit(static_cast<Place>(place - 1), cells_[place - 1], cells_[place], run.count);
  }

  // One cell for each token again, and words of a single token left out.
  void compact() {
    const auto old = word_counts_.runs();
    word_counts_.clear();
    size_t from = 1, to = 1;
    for (const auto& run : old) {
      while (from < run.end) {
        const size_t begin = to;
        for (; cells_[from] != kNone; from += spans_[cells_[from]]) cells_[to++] = cells_[from];
        ++from;
        if (to - begin < 2) to = begin;
        else cells_[to++] = kNone;
      }
      if (to > 1) word_counts_.add(static_cast<Place>(to), run.count);
    }
    cells_.resize(to);
    cells_.shrink_to_fit();
    word_counts_.finish();
    std::fill(spans_.begin(), spans_.end(), Place{1});
  }

  void begin_round() {
    places_.clear();
    pairs_.reset();
    compact();
    threshold_ = std::max(threshold_ / kRoundFactor, min_frequency_);
    index_pairs();
  }

  // Finds the pairs that occur `threshold_` times or more, and their places.
  void index_pairs() {
    // How often the pairs of the same hash occur together, to leave out most of the rare ones.
    std::vector<uint32_t> sums(kSums);
    for_each_pair([&](Place, Id left, Id right, uint64_t count) {
      uint32_t& sum = sums[hash(left, right)];
      sum = static_cast<uint32_t>(std::min<uint64_t>(sum + count, kMaxSum));
    });
    if (threshold_ == 0) {
      const uint64_t most = *std::max_element(sums.begin(), sums.end());
      threshold_ = std::max(most / kFirstRoundFactor, min_frequency_);
    }
    const uint32_t least = static_cast<uint32_t>(std::min<uint64_t>(threshold_, kMaxSum));
    for_each_pair([&](Place, Id left, Id right, uint64_t count) {
      if (sums[hash(left, right)] < least) return;
      const size_t slot = pairs_.find_or_insert(left, right);
      pairs_.count(slot) += count;
      pairs_.list(slot).size += 1;
    });
    pairs_.for_each([&](Id left, Id right, size_t slot) {
      if (pairs_.count(slot) < threshold_) return;
      List& list = pairs_.list(slot);
      list.begin = places_.allocate(list.size);
      list.size = 0;
      queue_.push({pairs_.count(slot), left, right});
    });
    for_each_pair([&](Place place, Id left, Id right, uint64_t) {
      if (sums[hash(left, right)] < least) return;
      List& list = pairs_.list(pairs_.find(left, right));
      if (list.begin != nullptr) list.begin[list.size++] = place;
    });
  }

  static size_t hash(Id left, Id right) {
    return (left * 0x9E3779B97F4A7C15u + right) * 0xD6E8FEB86659FD93u >> (64 - kSumsBits);
  }

  // Makes the pair one token wherever it occurs.
  void join(Id left, Id right, size_t slot) {
    const List list = pairs_.list(slot);
    pairs_.erase(slot);
    const Id whole = tokens_.join(left, right);
    spans_.push_back(spans_[left] + spans_[right]);
    before_.emplace_back();
    after_.emplace_back();
    join_places(left, right, whole, list);
    places_.recycle(list.begin, list.size);
    bool any_new = false;
    for (const Id token : befores_)
      any_new |= replace_pair(token, left, token, whole, before_[token]);
    for (const Id token : afters_)
      any_new |= replace_pair(right, token == whole ? left : token, whole, token, after_[token]);
    if (any_new) list_places();
    for (const Id token : befores_) before_[token] = {};
    for (const Id token : afters_) after_[token] = {};
  }

  // Writes the whole into the cells, and gathers its neighbours.
  void join_places(Id left, Id right, Id whole, const List& list) {
    constexpr size_t kAhead = 16;
    joints_.clear();
    befores_.clear();
    afters_.clear();
    const Place left_span = spans_[left], span = spans_[whole];
    Id* const cells = cells_.data();
    for (size_t i = 0; i < list.size; ++i) {
      if (i + kAhead < list.size) learning::prefetch(cells + list.begin[i + kAhead]);
      const Place place = list.begin[i];
      // Since it was listed, either token may have become part of another one.
      if (cells[place] != left || cells[place + left_span] != right) continue;
      cells[place + left_span] = kNone;
      cells[place] = cells[place + span - 1] = whole;
      const uint64_t count = word_counts_.at(place).count;
      Id before = cells[place - 1];
      const Id after = cells[place + span];
      if (before == whole) {
        // The whole before took our left token for its neighbour.
        Neighbour& wrong = after_[left];
        wrong.count -= count;
        wrong.places -= 1;
        joints_.back().after = whole;
        gather(after_[whole], whole, count, afters_);
        before = kNone;
      }
      gather(before_[before], before, count, befores_);
      gather(after_[after], after, count, afters_);
      joints_.push_back({place, before, after});
    }
  }

  static void gather(Neighbour& neighbour, Id token, uint64_t count, std::vector<Id>& tokens) {
    if (neighbour.count == 0) tokens.push_back(token);
    neighbour.count += count;
    neighbour.places += 1;
  }

  // The joining made new pairs of old ones as often as `neighbour` tells. Returns whether the new
  // one is to be indexed.
  bool replace_pair(Id old_left, Id old_right, Id left, Id right, Neighbour& neighbour) {
    // A token may have been gathered twice, if its count was 0 again in between.
    const uint64_t count = std::exchange(neighbour.count, 0);
    if (count == 0 || left == kNone || right == kNone) return false;
    const size_t old = pairs_.find(old_left, old_right);
    if (old != pairs_.kMissing) pairs_.count(old) -= count;
    if (count < threshold_) return false;
    neighbour.list = places_.allocate(neighbour.places);
    const size_t slot = pairs_.find_or_insert(left, right);
    pairs_.count(slot) = count;
    pairs_.list(slot) = {neighbour.list, neighbour.places};
    queue_.push({count, left, right});
    return true;
  }

  void list_places() {
    for (const Joint& joint : joints_) {
      Neighbour& before = before_[joint.before];
      if (before.list != nullptr) *before.list++ = joint.place - spans_[joint.before];
      Neighbour& after = after_[joint.after];
      if (after.list != nullptr) *after.list++ = joint.place;
    }
  }

  static constexpr uint64_t kFirstRoundFactor = 1 << 12;
  static constexpr uint64_t kRoundFactor = 16;
  static constexpr unsigned kSumsBits = 17;
  static constexpr size_t kSums = size_t{1} << kSumsBits;
  static constexpr uint64_t kMaxSum = std::numeric_limits<uint32_t>::max();

  uint64_t min_frequency_;
  uint64_t threshold_ = 0;  // pairs that are more seldom are not indexed
  learning::TokenOrder tokens_;
  std::vector<Id> cells_;
  std::vector<Place> spans_;  // of each token, in cells
  learning::WordCounts<Place> word_counts_;
  learning::PairTable<Place> pairs_;
  learning::PlaceArena<Place> places_;
  learning::CandidateQueue queue_;
  // Of the pair being joined:
  std::vector<Neighbour> before_, after_;  // by token
  std::vector<Id> befores_, afters_;       // the tokens found there
  std::vector<Joint> joints_;
};

using Learner = LearnerOf<uint32_t>;

}  // namespace bpe_tok
