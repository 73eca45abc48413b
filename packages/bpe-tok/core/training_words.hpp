// The words (distinct pretokens) of a corpus while merges are learned from them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "compiler.hpp"
#include "token_order.hpp"

namespace bpe_tok {
namespace learning {

// How often the word at a place occurs. Words lie in order of that, so equal ones form runs.
template <class Place>
class WordCounts {
 public:
  struct Run {
    Place end;
    uint64_t count;
  };

  // The places from the end of the last run up to `end`, if any, are of words that occur `count`
  // times.
  void add(size_t end, uint64_t count) {
    if (end > (runs_.empty() ? 0 : size_t{runs_.back().end}))
      runs_.push_back({static_cast<Place>(end), count});
  }

  // To be called when all runs are added.
  void finish() {
    size_t run = 0;
    const size_t end = runs_.empty() ? 0 : size_t{runs_.back().end};
    for (size_t place = 0; place < end; place += kBlock) {
      while (runs_[run].end <= place) ++run;
      blocks_.push_back(static_cast<Place>(run));
    }
  }

  const std::vector<Run>& runs() const { return runs_; }

  uint64_t at(Place place) const {
    const Run* run = &runs_[blocks_[place / kBlock]];
    while (run->end <= place) ++run;
    return run->count;
  }

 private:
  static constexpr size_t kBlock = 64;

  std::vector<Run> runs_;
  std::vector<Place> blocks_;  // the run at the beginning of each block of places
};

// Distinct words, their bytes one after another, and how often each occurs.
struct Corpus {
  struct Word {
    uint64_t count;
    size_t begin;  // in `bytes`
    uint32_t length;
  };

  std::vector<uint8_t> bytes;
  std::vector<uint32_t> lengths;
  std::vector<uint64_t> counts;

  // Calls visit(word) for each word that holds a pair.
  template <class Visit>
  void for_each_word(Visit visit) const {
    size_t begin = 0;
    for (size_t i = 0; i < lengths.size(); begin += lengths[i++])
      if (lengths[i] > 1 && counts[i] > 0) visit(Word{counts[i], begin, lengths[i]});
  }

  // How many it takes to lay the words out: one for each byte, and one on each side of a word.
  uint64_t num_cells() const {
    uint64_t cells = 1;
    for_each_word([&](const Word& word) { cells += uint64_t{word.length} + 1; });
    return cells;
  }
};

// All distinct words as tokens, in one array of cells.
template <class Place>
class Words {
 public:
  // Frees the corpus.
  explicit Words(Corpus&& corpus) : spans_(kFirstByte + 256, 1) {
    const Corpus taken(std::move(corpus));
    lay_out(taken);
  }

  void prefetch(Place place) const { BPE_TOK_PREFETCH(&cells_[place]); }

  // How many cells the token takes.
  Place span(Id token) const { return spans_[token]; }
  uint64_t count_at(Place place) const { return counts_.at(place); }

  void add_token(Id left, Id right) { spans_.push_back(spans_[left] + spans_[right]); }

  // Whether the pair is still there: since it was listed, either token may have become part of
  // another one.
  bool is_at(Place place, Id left, Id right) const {
    return cells_[place] == left && cells_[place + spans_[left]] == right;
  }

  void join(Place place, Id left, Id whole) {
    cells_[place + spans_[left]] = kNone;
    cells_[place] = cells_[place + spans_[whole] - 1] = whole;
  }

  Id before(Place place) const { return cells_[place - 1]; }
  Id after(Place place, Id token) const { return cells_[place + spans_[token]]; }

  // Makes each token one cell again, and leaves out the words of a single token.
  void compact() {
    WordCounts<Place> counts;
    size_t from = 1, to = 1;
    for (const auto& run : counts_.runs()) {
      while (from < run.end) {
        const size_t begin = to;
        for (Id token = cells_[from]; token != kNone; token = cells_[from]) {
          cells_[to++] = token;
          from += spans_[token];
        }
        ++from;
        if (to - begin == 1) to = begin;
        else cells_[to++] = kNone;
      }
      counts.add(to, run.count);
    }
    cells_.resize(to);
    cells_.shrink_to_fit();
    std::fill(spans_.begin(), spans_.end(), Place{1});
    counts.finish();
    counts_ = std::move(counts);
  }

  // Calls visit(place, left, right, count of the word) for all neighbouring cells, of which each
  // must be a token or `kNone`. (To pass over `kNone` here would cost more than it saves.)
  template <class Visit>
  void for_each_pair(Visit visit) const {
    size_t place = 0;
    for (const auto& run : counts_.runs())
      for (; place + 1 < run.end; ++place)
        visit(static_cast<Place>(place), cells_[place], cells_[place + 1], run.count);
  }

 private:
  using Word = Corpus::Word;

  // More frequent words go first. For rare ones there is a class for each count; those in class 0
  // are few and are sorted.
  static constexpr uint64_t kFrequent = 1 << 12;

  static size_t class_of(const Word& word) {
    return static_cast<size_t>(kFrequent - std::min(word.count, kFrequent));
  }

  void lay_out(const Corpus& corpus) {
    std::vector<size_t> ends(kFrequent);  // where the next word of each class goes
    std::vector<Word> frequent;
    corpus.for_each_word([&](const Word& word) {
      ends[class_of(word)] += word.length + size_t{1};
      if (class_of(word) == 0) frequent.push_back(word);
    });
    size_t size = 1;
    for (size_t& end : ends) size += std::exchange(end, size);
    cells_.resize(size);
    const auto add = [&](const Word& word) {
      size_t& end = ends[class_of(word)];
      Id* const cells = &cells_[end];
      for (size_t i = 0; i < word.length; ++i)
        cells[i] = kFirstByte + corpus.bytes[word.begin + i];
      end += word.length + size_t{1};
    };
    std::sort(frequent.begin(), frequent.end(),
              [](const Word& a, const Word& b) { return a.count > b.count; });
    for (const Word& word : frequent) {
      add(word);
      counts_.add(ends[0], word.count);
    }
    corpus.for_each_word([&](const Word& word) {
      if (class_of(word) != 0) add(word);
    });
    for (size_t i = 1; i < ends.size(); ++i) counts_.add(ends[i], kFrequent - i);
    counts_.finish();
  }

  std::vector<Id> cells_;
  std::vector<Place> spans_;  // of each token, in cells
  WordCounts<Place> counts_;
};

}  // namespace learning
}  // namespace bpe_tok
