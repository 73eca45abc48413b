// Merging any bytes by any merges gives what one merge at a time gives.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "merges.hpp"

using namespace bpe_tok;

namespace {

using Pair = std::pair<uint32_t, uint32_t>;
using Ranks = std::map<Pair, std::pair<uint32_t, uint32_t>>;  // rank and whole

std::vector<uint32_t> one_at_a_time(std::vector<uint32_t> ids, const Ranks& ranks) {
  for (;;) {
    uint32_t best_rank = kNoRank, whole = 0;
    size_t place = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = ranks.find({ids[i], ids[i + 1]});
      if (found == ranks.end() || found->second.first >= best_rank) continue;
      best_rank = found->second.first;
      whole = found->second.second;
      place = i;
    }
    if (best_rank == kNoRank) return ids;
    ids[place] = whole;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

}  // namespace

// First the number of merges, then two bytes for each, then the pretoken. Few letters, so that
// merges meet; their ids start at one that the input tells.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint8_t* const end = data + size;
  const uint32_t first = 256 + data[1] * 64u;
  size_t wanted = data[0];
  data += 2;
  std::vector<uint32_t> byte_ids(256);
  for (uint32_t byte = 0; byte < 256; ++byte) byte_ids[byte] = first > 8000 ? 255 - byte : byte;
  std::vector<Merges::Merge> listed;
  Ranks plain;
  std::vector<uint32_t> tokens;
  for (const char letter : {'a', 'b', 'c', ' '}) tokens.push_back(byte_ids[static_cast<uint8_t>(letter)]);
  for (uint32_t rank = 0; rank < wanted && end - data >= 2; ++rank, data += 2) {
    const Pair pair{tokens[data[0] % tokens.size()], tokens[data[1] % tokens.size()]};
    listed.push_back({pair.first, pair.second, rank, first + rank});
    plain.try_emplace(pair, rank, first + rank);
    tokens.push_back(first + rank);
  }
  const Merges merges(byte_ids, listed);
  if (merges.num_distinct() != plain.size()) std::abort();
  std::vector<uint8_t> text;
  for (; data != end; ++data) text.push_back(*data < 0xF0 ? "abc "[*data % 4] : *data);
  if (text.empty()) return 0;
  std::vector<uint32_t> expected, ids(text.size());
  for (const uint8_t byte : text) expected.push_back(byte_ids[byte]);
  expected = one_at_a_time(expected, plain);
  ids.resize(merges.merge(text.data(), text.size(), ids.data()));
  if (ids == expected) return 0;
  std::fprintf(stderr, "%zu ids, and %zu expected\n", ids.size(), expected.size());
  std::abort();
}
