// Cutting any bytes by each pattern: every byte is in one pretoken, and GPT-2's are those that a
// plain walk over the characters gives.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "pretokens.hpp"

using namespace bpe_tok;

namespace {

using Starts = std::vector<const uint8_t*>;

template <class Cutter>
Starts starts_of(Cutter cutter, size_t batch) {
  Starts starts;
  while (!cutter.done()) {
    std::vector<const uint8_t*> buffer(batch + kStartsSlack);
    const uint8_t** const after = cutter.write_starts(buffer.data(), batch);
    starts.insert(starts.end(), static_cast<const uint8_t**>(buffer.data()), after);
  }
  return starts;
}

void require(bool right, const char* rule) {
  if (right) return;
  std::fprintf(stderr, "not so: %s\n", rule);
  std::abort();
}

size_t contraction(const uint8_t* p, const uint8_t* end) {
  for (const char* letters : {"'s", "'d", "'m", "'t", "'ll", "'ve", "'re"}) {
    const size_t size = std::strlen(letters);
    if (static_cast<size_t>(end - p) >= size && !std::memcmp(p, letters, size)) return size;
  }
  return 0;
}

// 0 letter, 1 number, 2 other, 3 white space
int gpt2_class(const uint8_t* p, const uint8_t* end) {
  const uint8_t c = character_at(p, end).char_class;
  return is_letter(c) ? 0 : c == kNumber ? 1 : is_space(c) ? 3 : 2;
}

Starts plain_gpt2(const uint8_t* p, const uint8_t* end) {
  const auto run = [end](const uint8_t* q, int wanted) {
    while (q != end && gpt2_class(q, end) == wanted) q += character_at(q, end).length;
    return q;
  };
  Starts starts;
  while (p != end) {
    starts.push_back(p);
    if (const size_t size = contraction(p, end)) {
      p += size;
      continue;
    }
    const uint8_t* word = *p == ' ' && p + 1 != end ? p + 1 : p;
    if (gpt2_class(word, end) != 3) {
      p = run(word, gpt2_class(word, end));
      continue;
    }
    const uint8_t* last = p;
    const uint8_t* q = p;
    for (; q != end && gpt2_class(q, end) == 3; q += character_at(q, end).length) last = q;
    p = q == end || last == p ? q : last;
  }
  return starts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const size_t batch = 1 + data[0] % 70;
  // In memory of its own, so that a read past the end is seen.
  const std::vector<uint8_t> text(data + 1, data + size);
  const uint8_t* const begin = text.data();
  const uint8_t* const end = begin + text.size();
  const Starts gpt2 = starts_of(Gpt2Cutter(begin, end), batch);
  require(gpt2 == plain_gpt2(begin, end), "Gpt2Cutter cuts as the plain walk");
  for (const Pattern pattern :
       {Pattern::kCl100k, Pattern::kLlama3, Pattern::kQwen2, Pattern::kO200k}) {
    const Starts starts = starts_of(RunCutter(pattern, begin, end), batch);
    require(starts.empty() == text.empty(), "text has pretokens");
    require(starts.empty() || starts.front() == begin, "the first pretoken starts the text");
    for (size_t i = 1; i < starts.size(); ++i)
      require(starts[i - 1] < starts[i] && starts[i] < end, "pretokens follow each other");
  }
  return 0;
}
