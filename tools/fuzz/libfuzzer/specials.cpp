// Finding special tokens in any bytes gives what a look at each place gives.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "specials.hpp"

using namespace bpe_tok;

// First the number of tokens and which are allowed, then the tokens, each behind its length, then
// the text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint8_t* const end = data + size;
  const size_t wanted = data[0] % 9;
  const uint8_t flags = data[1];
  data += 2;
  std::vector<std::string> tokens;
  std::vector<uint8_t> allowed;
  for (size_t i = 0; i < wanted && end - data >= 2; ++i) {
    const size_t length = std::min<size_t>(1 + data[0] % 8, static_cast<size_t>(end - data) - 1);
    std::string token(data + 1, data + 1 + length);
    data += 1 + length;
    if (std::find(tokens.begin(), tokens.end(), token) != tokens.end()) continue;
    tokens.push_back(token);
    allowed.push_back(flags >> i & 1);
  }
  const Specials specials(tokens);
  const std::vector<uint8_t> text(data, end);
  const uint8_t* const text_end = text.data() + text.size();
  const uint8_t* p = text.data();
  for (;;) {
    const Specials::Match match = specials.find(p, text_end, allowed.data());
    const uint8_t* begin = p;
    size_t best = Specials::kNone, longest = 0;
    for (; begin != text_end && best == Specials::kNone; ++begin)
      for (size_t i = 0; i < tokens.size(); ++i)
        if (allowed[i] && tokens[i].size() > longest &&
            static_cast<size_t>(text_end - begin) >= tokens[i].size() &&
            !std::memcmp(begin, tokens[i].data(), tokens[i].size()))
          best = i, longest = tokens[i].size();
    if (best != match.index) std::abort();
    if (best == Specials::kNone) return 0;
    if (match.begin != begin - 1 || match.end != match.begin + longest) std::abort();
    p = match.end;
  }
}
