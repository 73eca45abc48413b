// Learning merges from any words gives what counting all pairs anew for each merge gives.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "learner.hpp"

using namespace bpe_tok;

namespace {

using Pair = std::pair<uint32_t, uint32_t>;

struct Word {
  std::vector<uint32_t> tokens;
  uint64_t count;
};

std::vector<Pair> plain_merges(std::vector<Word> words, size_t wanted, uint64_t min_frequency) {
  std::vector<std::string> bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.emplace_back(1, static_cast<char>(byte));
  std::vector<Pair> merges;
  while (merges.size() < wanted) {
    std::map<Pair, uint64_t> counts;
    for (const Word& word : words)
      for (size_t i = 0; i + 1 < word.tokens.size(); ++i)
        counts[{word.tokens[i], word.tokens[i + 1]}] += word.count;
    const auto less = [&bytes](const auto& a, const auto& b) {
      if (a.second != b.second) return a.second < b.second;
      if (const int order = bytes[a.first.first].compare(bytes[b.first.first])) return order < 0;
      return bytes[a.first.second] < bytes[b.first.second];
    };
    const auto best = std::max_element(counts.begin(), counts.end(), less);
    if (best == counts.end() || best->second < min_frequency) break;
    const Pair pair = best->first;
    merges.push_back(pair);
    for (Word& word : words) {
      std::vector<uint32_t> joined;
      for (size_t i = 0; i < word.tokens.size(); ++i) {
        const bool both = i + 1 < word.tokens.size() &&
                          Pair(word.tokens[i], word.tokens[i + 1]) == pair;
        joined.push_back(both ? static_cast<uint32_t>(bytes.size()) : word.tokens[i]);
        i += both;
      }
      word.tokens = joined;
    }
    bytes.push_back(bytes[pair.first] + bytes[pair.second]);
  }
  return merges;
}

}  // namespace

// First the least frequency, then the words, each behind its count and length. Few letters, so
// that many pairs are equally frequent.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const uint8_t* const end = data + size;
  const uint64_t min_frequency = data[0] % 8;
  const unsigned letters = 1 + data[1] % 5;
  const size_t step = 1 + data[2] % 40;
  data += 3;
  std::map<std::string, uint64_t> distinct;
  while (end - data >= 3) {
    const uint64_t count = data[0] < 0xE0 ? 1 + data[0] % 8 : uint64_t{data[0]} << data[0] % 40;
    const size_t length = std::min<size_t>(1 + data[1] % 40, static_cast<size_t>(end - data) - 2);
    std::string word;
    for (size_t i = 0; i < length; ++i)
      word += static_cast<char>(data[2 + i] < 0xF8 ? 'a' + data[2 + i] % letters : data[2 + i]);
    data += 2 + length;
    distinct[word] += count;
  }
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> lengths;
  std::vector<uint64_t> counts;
  std::vector<Word> words;
  for (const auto& [word, count] : distinct) {
    bytes.insert(bytes.end(), word.begin(), word.end());
    lengths.push_back(static_cast<uint32_t>(word.size()));
    counts.push_back(count);
    words.push_back({{}, count});
    for (const char c : word) words.back().tokens.push_back(static_cast<uint8_t>(c));
  }
  const size_t wanted = 120;
  const std::vector<Pair> expected =
      plain_merges(words, wanted, std::max<uint64_t>(min_frequency, 1));
  const auto check = [&](auto&& learner) {
    std::vector<Pair> merges;
    while (merges.size() < wanted) {
      const std::vector<Pair> next = learner.learn(std::min(step, wanted - merges.size()));
      if (next.empty()) break;
      merges.insert(merges.end(), next.begin(), next.end());
    }
    if (merges == expected) return;
    std::fprintf(stderr, "%zu merges, and %zu expected\n", merges.size(), expected.size());
    std::abort();
  };
  // The one for a corpus too large for 32 bits too, which no other test can afford.
  check(learning::LearnerOf<uint64_t>(learning::Corpus{bytes, lengths, counts}, min_frequency));
  check(Learner(std::move(bytes), std::move(lengths), std::move(counts), min_frequency));
  return 0;
}
