// Characters of UTF-8 text and their classes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "compiler.hpp"
#include "unicode_classes.hpp"

namespace bpe_tok {

// The classes of the patterns: \p{Ll}; \p{Lu} and \p{Lt}; \p{Lm} and \p{Lo}; \p{M}; \p{N}; \s.
// The two line ends are white space too, with a class of their own; ASCII alone has them.
enum Class : uint8_t { kOther, kLower, kUpper, kCaseless, kMark, kNumber, kSpace, kNewline };

inline bool is_letter(uint8_t c) { return c >= kLower && c <= kCaseless; }
inline bool is_space(uint8_t c) { return c >= kSpace; }
inline bool is_other(uint8_t c) { return c == kOther || c == kMark; }

struct Character {
  uint32_t length;  // in bytes
  uint8_t char_class;
};

constexpr uint8_t ascii_class(uint8_t byte) {
  if (byte >= 'a' && byte <= 'z') return kLower;
  if (byte >= 'A' && byte <= 'Z') return kUpper;
  if (byte >= '0' && byte <= '9') return kNumber;
  if (byte == '\r' || byte == '\n') return kNewline;
  if (byte == ' ' || byte == '\t' || byte == '\v' || byte == '\f') return kSpace;
  return kOther;
}

struct AsciiClasses {
  uint8_t of[128];
  constexpr AsciiClasses() : of() {
    for (int byte = 0; byte < 128; ++byte) of[byte] = ascii_class(static_cast<uint8_t>(byte));
  }
};
constexpr AsciiClasses kAscii;

inline uint8_t class_of(uint32_t code_point) {
  return kClassOf[kClassPage[code_point >> 8]][code_point & 0xFF];
}

inline bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// The character that starts at `p`, which is not ASCII. A byte that is not a part of well-formed
// UTF-8 (RFC 3629) is a character by itself, of no class.
BPE_TOK_INLINE Character multibyte_character(const uint8_t* p, const uint8_t* end) {
  const Character stray{1, kOther};
  const uint32_t lead = *p;
  const size_t left = static_cast<size_t>(end - p);
  if (lead < 0xC2 || lead > 0xF4 || left < 2 || !is_continuation(p[1])) return stray;
  if (lead < 0xE0) return {2, class_of((lead & 0x1F) << 6 | (p[1] & 0x3F))};
  if (left < 3 || !is_continuation(p[2])) return stray;
  if (lead < 0xF0) {
    const uint32_t point = (lead & 0x0F) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    const bool overlong_or_surrogate = point < 0x800 || (point >= 0xD800 && point < 0xE000);
    return overlong_or_surrogate ? stray : Character{3, class_of(point)};
  }
  if (left < 4 || !is_continuation(p[3])) return stray;
  const uint32_t point =
      (lead & 0x07) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
  return point < 0x10000 || point > 0x10FFFF ? stray : Character{4, class_of(point)};
}

inline Character character_at(const uint8_t* p, const uint8_t* end) {
  if (*p < 0x80) return {1, kAscii.of[*p]};
  return multibyte_character(p, end);
}

}  // namespace bpe_tok
