// The patterns by name.
#pragma once

#include "python.hpp"

#include <cstring>
#include <utility>

#include "pretokens.hpp"

namespace bpe_tok {

inline Pattern pattern_of(const char* name) {
  constexpr std::pair<const char*, Pattern> kPatterns[] = {{"gpt2", Pattern::kGpt2},
                                                           {"cl100k", Pattern::kCl100k},
                                                           {"llama3", Pattern::kLlama3},
                                                           {"qwen2", Pattern::kQwen2},
                                                           {"o200k", Pattern::kO200k}};
  for (const auto& [known, pattern] : kPatterns)
    if (std::strcmp(known, name) == 0) return pattern;
  PyErr_Format(PyExc_ValueError, "no pattern is named %s", name);
  throw PythonError();
}

}  // namespace bpe_tok
