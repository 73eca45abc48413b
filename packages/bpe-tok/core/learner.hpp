// Learning merges: join the most frequent pair of tokens, again and again.
//
// All distinct words lie one after another in one array of cells, and an index tells where each
// pair of neighbouring tokens begins. To join a pair is to visit the places in its list. A token of
// several cells has its id in its first and in its last cell, so both neighbours of a place are
// found without a search and without links, in a word of any length.
//
// Pairs are learned in rounds. A round indexes only the pairs that occur at least `threshold_`
// times: a pair never becomes more frequent once it is made, so the others cannot be the best
// before all those are used up. Then the next round begins with a lower threshold: the words are
// compacted to one cell for each token, and indexed anew. So the rare pairs, by far the most, are
// neither stored nor counted while they do not matter.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "compiler.hpp"
#include "pair_table.hpp"
#include "token_order.hpp"
#include "training_words.hpp"

namespace bpe_tok {
namespace learning {

using Merges = std::vector<std::pair<uint32_t, uint32_t>>;

// `Place` is an integer wide enough for `corpus.num_cells()`.
template <class Place>
class LearnerOf {
 public:
  LearnerOf(Corpus&& corpus, uint64_t min_frequency)
      : min_frequency_(std::max<uint64_t>(min_frequency, 1)),
        words_(std::move(corpus)),
        queue_(tokens_),
        before_(tokens_.size()),
        after_(tokens_.size()) {
    index_byte_pairs();
  }

  LearnerOf(const LearnerOf&) = delete;  // the queue refers to the tokens
  LearnerOf& operator=(const LearnerOf&) = delete;

  Merges learn(size_t num) {
    Merges merges;
    while (merges.size() < num) {
      if (queue_.empty()) {
        if (threshold_ == min_frequency_) break;
        begin_round();
        continue;
      }
      const Candidate best = queue_.top();
      Pair<Place>& pair = *pairs_.find(best.left, best.right);
      if (pair.count < threshold_) {
        queue_.pop();
      } else if (pair.count < best.count) {
        queue_.lower_top(pair.count);
      } else {
        queue_.pop();
        merges.emplace_back(best.left - kFirstByte, best.right - kFirstByte);
        join(pair);
      }
    }
    return merges;
  }

 private:
  // What is gathered about one neighbour while a pair is joined.
  struct Neighbour {
    uint64_t count = 0;
    size_t num_places = 0;
    Place* list = nullptr;  // where to write the places of the pair that it now is in
  };

  struct Joint {
    Place place;
    Id before, after;
  };

  // A place and the pair there, as an index into `pairs_`.
  struct Hit {
    Place place;
    uint32_t pair;
  };

  // A round indexes at most so many pairs to begin with; the first one, that is, and later ones a
  // multiple of it. More rounds cost time, and more pairs in each of them memory.
  static constexpr uint64_t kFirstRoundPairs = 1 << 17;
  static constexpr uint64_t kRoundFactor = 4;

  void begin_round() {
    places_.clear();
    pairs_.clear();
    words_.compact();
    threshold_ = std::max(threshold_ / kRoundFactor, min_frequency_);
    index_pairs();
  }

  // Finds the places of all pairs that are frequent enough. For the first round: there are so few
  // different pairs that a plain table has room for all of them and for `kNone`.
  void index_byte_pairs() {
    struct Entry {
      uint64_t count;
      size_t num_places;
      Place* list;
    };
    constexpr size_t kIds = kFirstByte + 256;
    std::vector<Entry> table(kIds * kIds);
    words_.for_each_pair([&](Place, Id left, Id right, uint64_t count) {
      Entry& entry = table[left * kIds + right];
      entry.count += count;
      entry.num_places += 1;
    });
    const auto for_each_entry = [&](auto visit) {
      for (Id left = kFirstByte; left < kIds; ++left)
        for (Id right = kFirstByte; right < kIds; ++right)
          visit(left, right, table[left * kIds + right]);
    };
    uint64_t total = 0;
    for_each_entry([&](Id, Id, const Entry& entry) { total += entry.count; });
    threshold_ = std::max(total / kFirstRoundPairs, min_frequency_);
    for_each_entry([&](Id left, Id right, Entry& entry) {
      if (entry.count >= threshold_)
        entry.list = add_pair(left, right, entry.count, entry.num_places);
    });
    words_.for_each_pair([&](Place place, Id left, Id right, uint64_t) {
      Entry& entry = table[left * kIds + right];
      if (entry.list != nullptr) *entry.list++ = place;
    });
  }

  // The same for later rounds.
  void index_pairs() {
    const std::vector<Hit> hits = count_pairs();
    std::vector<Place*> lists(pairs_.size());
    for (size_t i = 0; i < lists.size(); ++i) {
      Pair<Place>& pair = pairs_[i];
      if (pair.count < threshold_) continue;
      lists[i] = pair.places = places_.allocate(pair.num_places);
      queue_.push({pair.count, pair.left, pair.right});
    }
    for (const Hit& hit : hits)
      if (lists[hit.pair] != nullptr) *lists[hit.pair]++ = hit.place;
  }

  // Counts the pairs that may be frequent enough, and returns where they are.
  std::vector<Hit> count_pairs() {
    PairSums sums;
    words_.for_each_pair(
        [&](Place, Id left, Id right, uint64_t count) { sums.add(left, right, count); });
    sums.finish();
    std::vector<Hit> hits;
    PairAt batch[kBatch + 1];
    size_t size = 0;
    words_.for_each_pair([&](Place place, Id left, Id right, uint64_t count) {
      // Without a branch, as nobody could predict it.
      batch[size] = {count, place, left, right};
      size += sums.may_occur(left, right, threshold_);
      if (size == kBatch) count_batch(batch, std::exchange(size, 0), hits);
    });
    count_batch(batch, size, hits);
    return hits;
  }

  static constexpr size_t kBatch = 256;

  struct PairAt {
    uint64_t count;
    Place place;
    Id left, right;
  };

  void count_batch(const PairAt* batch, size_t size, std::vector<Hit>& hits) {
    hits.resize(hits.size() + size);
    Hit* const new_hits = hits.data() + hits.size() - size;
    for (size_t i = 0; i < size; ++i) pairs_.prefetch(batch[i].left, batch[i].right);
    for (size_t i = 0; i < size; ++i)
      new_hits[i] = {batch[i].place, pairs_.find_or_insert(batch[i].left, batch[i].right)};
    for (size_t i = 0; i < size; ++i) {
      Pair<Place>& pair = pairs_[new_hits[i].pair];
      pair.count += batch[i].count;
      pair.num_places += 1;
    }
  }

  // Returns where to write the places of the new pair.
  Place* add_pair(Id left, Id right, uint64_t count, size_t num_places) {
    Pair<Place>& pair = pairs_[pairs_.find_or_insert(left, right)];
    pair.count = count;
    pair.num_places = num_places;
    pair.places = places_.allocate(num_places);
    queue_.push({count, left, right});
    return pair.places;
  }

  // Makes the pair one token wherever it occurs.
  void join(Pair<Place>& pair) {
    pair.count = 0;
    const Id left = pair.left, right = pair.right, whole = tokens_.join(left, right);
    words_.add_token(left, right);
    before_.emplace_back();
    after_.emplace_back();
    join_places(pair, whole);
    places_.recycle(pair.places, pair.num_places);
    bool any_new = false;
    for (const Id token : befores_)
      any_new |= replace_pair(token, left, token, whole, before_[token]);
    for (const Id token : afters_)
      any_new |= replace_pair(right, token == whole ? left : token, whole, token, after_[token]);
    if (any_new) list_places();
    for (const Id token : befores_) before_[token] = {};
    for (const Id token : afters_) after_[token] = {};
  }

  // Writes the whole into the cells, and gathers its neighbours. The places are in order, so that
  // in "aaa" the pair on the left is the one that is joined.
  void join_places(const Pair<Place>& pair, Id whole) {
    constexpr size_t kAhead = 16;
    joints_.clear();
    befores_.clear();
    afters_.clear();
    const Id left = pair.left, right = pair.right;
    for (size_t i = 0; i < pair.num_places; ++i) {
      if (i + kAhead < pair.num_places) words_.prefetch(pair.places[i + kAhead]);
      const Place place = pair.places[i];
      if (!words_.is_at(place, left, right)) continue;
      words_.join(place, left, whole);
      const uint64_t count = words_.count_at(place);
      Id before = words_.before(place);
      const Id after = words_.after(place, whole);
      if (before == whole) {
        // That one took our left token for its neighbour.
        Neighbour& wrong = after_[left];
        wrong.count -= count;
        wrong.num_places -= 1;
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
    neighbour.num_places += 1;
  }

  // The joining made the new pair (left, right) of the old one as often as `neighbour` tells.
  // Returns whether the new one is to be indexed.
  bool replace_pair(Id old_left, Id old_right, Id left, Id right, Neighbour& neighbour) {
    // A token may have been gathered twice, if its count was 0 again in between.
    const uint64_t count = std::exchange(neighbour.count, 0);
    if (count == 0 || left == kNone || right == kNone) return false;
    // In "aaa" the pair that is being joined is its own neighbour, and all of it is gone.
    if (Pair<Place>* const old = pairs_.find(old_left, old_right))
      old->count -= std::min(count, old->count);
    if (count < threshold_) return false;
    neighbour.list = add_pair(left, right, count, neighbour.num_places);
    return true;
  }

  void list_places() {
    for (const Joint& joint : joints_) {
      Neighbour& before = before_[joint.before];
      if (before.list != nullptr) *before.list++ = joint.place - words_.span(joint.before);
      Neighbour& after = after_[joint.after];
      if (after.list != nullptr) *after.list++ = joint.place;
    }
  }

  uint64_t min_frequency_;
  uint64_t threshold_;  // pairs that are more seldom are not indexed
  TokenOrder tokens_;
  Words<Place> words_;
  PairTable<Place> pairs_;
  PlaceArena<Place> places_;
  CandidateQueue queue_;
  // Of the pair being joined:
  std::vector<Neighbour> before_, after_;  // by token
  std::vector<Id> befores_, afters_;       // the tokens found there
  std::vector<Joint> joints_;
};

}  // namespace learning

// Learns the merges of byte-pair encoding from the pretokens of a corpus.
class Learner {
 public:
  // Takes distinct pretokens, their bytes one after another, and how often each occurs. Pairs that
  // occur less than `min_frequency` times are not joined.
  Learner(std::vector<uint8_t>&& bytes, std::vector<uint32_t>&& lengths,
          std::vector<uint64_t>&& counts, uint64_t min_frequency) {
    learning::Corpus corpus{std::move(bytes), std::move(lengths), std::move(counts)};
    if (corpus.num_cells() <= std::numeric_limits<uint32_t>::max())
      narrow_ = std::make_unique<Narrow>(std::move(corpus), min_frequency);
    else
      wide_ = std::make_unique<Wide>(std::move(corpus), min_frequency);
  }

  // The next merges, at most `num`; fewer if no pair is left that is frequent enough. A token is
  // the number of a byte, or 256 + k for what the k-th merge of this learner made.
  learning::Merges learn(size_t num) {
    // When memory has run out within a merge, the counts are wrong from then on.
    if (broken_) throw std::bad_alloc();
    broken_ = true;
    learning::Merges merges = narrow_ ? narrow_->learn(num) : wide_->learn(num);
    broken_ = false;
    return merges;
  }

 private:
  using Narrow = learning::LearnerOf<uint32_t>;
  using Wide = learning::LearnerOf<uint64_t>;

  std::unique_ptr<Narrow> narrow_;
  std::unique_ptr<Wide> wide_;  // for more places than 32 bits can tell apart
  bool broken_ = false;
};

}  // namespace bpe_tok
