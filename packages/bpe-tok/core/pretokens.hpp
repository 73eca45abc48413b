// Cutting text into pretokens. A cutter is given a text without special tokens and writes where
// each pretoken starts, a batch at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "byte_masks.hpp"
#include "characters.hpp"

namespace bpe_tok {

enum class Pattern { kGpt2, kCl100k, kLlama3, kQwen2, kO200k };

// A cutter may write this many starts more than were asked for.
constexpr size_t kStartsSlack = kBlock;

// GPT-2:  '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// Whether a pretoken starts at a character depends on its class and those of its two neighbours
// alone, but for contractions. So the starts in 64 bytes are found by operations on bit masks:
// - a letter, number or other character starts one if the one before it is of another class, and
//   not a blank (the blank starts it then);
// - white space starts one if none is before it, or if the next character is not white space: it
//   is then the blank of " word", or alone.
class Gpt2Cutter {
 public:
  Gpt2Cutter(const uint8_t* text, const uint8_t* end) : block_(text), end_(end) {}

  bool done() const { return block_ == end_; }

  // Writes the starts in order, at least `count` unless the text ends; returns behind the last.
  const uint8_t** write_starts(const uint8_t** starts, size_t count) {
    const uint8_t** const enough = starts + count;
    while (starts < enough && !done()) starts = cut_block(starts);
    return starts;
  }

 private:
  const uint8_t** cut_block(const uint8_t** starts) {
    const size_t left = static_cast<size_t>(end_ - block_);
    const unsigned size = left < kBlock ? static_cast<unsigned>(left) : kBlock;
    const uint64_t valid = low_bits(size);
    ByteMasks masks;
    if (size == kBlock) {
      masks = byte_masks(block_);
    } else {
      uint8_t padded[kBlock] = {};
      std::memcpy(padded, block_, size);
      masks = byte_masks(padded);
    }

    // Bytes of a character that started in an earlier byte.
    uint64_t inner = 0;
    uint64_t wide_spaces = 0;
    if (masks.high | unfinished_bytes_) {
      inner = add_multibyte(masks, size);
      wide_spaces = masks.spaces & masks.high & ~inner;
    }
    const uint64_t others = valid & ~(masks.letters | masks.numbers | masks.spaces);

    const uint64_t space_or_end = masks.spaces | ~valid;
    // What follows a character of several bytes is seen to in starts_of_wide_spaces.
    const uint64_t space_next =
        wide_spaces | space_or_end >> 1 |
        static_cast<uint64_t>(is_space_or_end(block_ + size)) << (kBlock - 1);
    const uint64_t after_blank = masks.blanks << 1 | before_.blank;
    uint64_t start = masks.letters & ~(masks.letters << 1 | before_.letter | after_blank);
    start |= masks.numbers & ~(masks.numbers << 1 | before_.number | after_blank);
    start |= others & ~(others << 1 | before_.other | after_blank);
    start |= masks.spaces & ~((masks.spaces << 1 | before_.space) & space_next);
    start &= ~inner;
    if (wide_spaces) start |= starts_of_wide_spaces(wide_spaces);
    start = (start | contraction_ends_) & ~contraction_letters_;
    contraction_ends_ = contraction_letters_ = 0;
    if (masks.quotes & start) start = cut_contractions(start, masks.quotes & start);

    before_ = {masks.letters >> 63, masks.numbers >> 63, others >> 63, masks.spaces >> 63,
               masks.blanks >> 63};
    for (uint64_t left_over = start & valid; left_over; left_over &= left_over - 1)
      *starts++ = block_ + lowest_bit(left_over);
    block_ += size;
    return starts;
  }

  // Enters the characters outside ASCII into the masks, all bytes of a character alike.
  uint64_t add_multibyte(ByteMasks& masks, unsigned size) {
    uint64_t inner = low_bits(unfinished_bytes_);
    enter(masks, unfinished_class_, inner);
    uint64_t todo = masks.high & ~inner;
    unfinished_bytes_ = 0;
    while (todo) {
      const unsigned place = lowest_bit(todo);
      const Character character = multibyte_character(block_ + place, end_);
      const uint64_t bits = low_bits(character.length) << place;
      enter(masks, character.char_class, bits);
      inner |= bits & (bits - 1) & ~(uint64_t{1} << place);
      todo &= ~bits;
      if (place + character.length > size) {
        unfinished_bytes_ = place + character.length - size;
        unfinished_class_ = character.char_class;
      }
    }
    return inner;
  }

  static void enter(ByteMasks& masks, uint8_t char_class, uint64_t bits) {
    masks.letters |= is_letter(char_class) ? bits : 0;
    masks.numbers |= char_class == kNumber ? bits : 0;
    masks.spaces |= is_space(char_class) ? bits : 0;
  }

  // For white space of several bytes the next byte is not the next character.
  uint64_t starts_of_wide_spaces(uint64_t leads) const {
    uint64_t starts = 0;
    for (; leads; leads &= leads - 1) {
      const uint8_t* p = block_ + lowest_bit(leads);
      if (!is_space_or_end(p + character_at(p, end_).length)) starts |= leads & (~leads + 1);
    }
    return starts;
  }

  bool is_space_or_end(const uint8_t* p) const {
    return p == end_ || is_space(character_at(p, end_).char_class);
  }

  // Moves the starts about each quote that begins a contraction: its letters belong to the quote,
  // and whatever follows starts anew.
  uint64_t cut_contractions(uint64_t start, uint64_t quotes) {
    for (; quotes; quotes &= quotes - 1) {
      const unsigned place = lowest_bit(quotes);
      const unsigned letters = contraction_letters(block_ + place + 1);
      if (letters == 0) continue;
      const unsigned first = place + 1;
      const unsigned next = first + letters;
      if (first < kBlock) start &= ~(uint64_t{1} << first);
      else contraction_letters_ |= uint64_t{1} << (first - kBlock);
      if (next < kBlock) start |= uint64_t{1} << next;
      else contraction_ends_ |= uint64_t{1} << (next - kBlock);
    }
    return start;
  }

  // How many letters after a quote make a contraction with it: 0, 1 or 2.
  unsigned contraction_letters(const uint8_t* p) const {
    const size_t left = static_cast<size_t>(end_ - p);
    if (left < 1) return 0;
    if (*p == 's' || *p == 'd' || *p == 'm' || *p == 't') return 1;
    if (left < 2) return 0;
    return (p[0] == 'l' && p[1] == 'l') || (p[1] == 'e' && (p[0] == 'v' || p[0] == 'r')) ? 2 : 0;
  }

  static uint64_t low_bits(unsigned count) {
    return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
  }

  const uint8_t* block_;
  const uint8_t* end_;
  // The classes of the byte before the block, each 0 or 1.
  struct {
    uint64_t letter = 0, number = 0, other = 0, space = 0, blank = 0;
  } before_;
  // What goes on into the next block: a character, and contractions.
  unsigned unfinished_bytes_ = 0;
  uint8_t unfinished_class_ = kOther;
  uint64_t contraction_ends_ = 0;
  uint64_t contraction_letters_ = 0;
};

// The later patterns, a pretoken at a time.
class RunCutter {
 public:
  RunCutter(Pattern pattern, const uint8_t* text, const uint8_t* end)
      : pattern_(pattern), p_(text), end_(end) {}

  bool done() const { return p_ == end_; }

  const uint8_t** write_starts(const uint8_t** starts, size_t count) {
    const uint8_t** const enough = starts + count;
    while (starts < enough && !done()) {
      *starts++ = p_;
      p_ = pattern_ == Pattern::kO200k ? o200k_pretoken(p_) : cl100k_pretoken(p_);
    }
    return starts;
  }

 private:
  // cl100k:  '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
  //          |\s+$|\s*[\r\n]+|\s+(?!\S)|\s+
  // Llama 3 has it without \s+$, and Qwen 2 with single numbers too.
  const uint8_t* cl100k_pretoken(const uint8_t* p) const {
    const Character first = character_at(p, end_);
    const uint8_t* const second = p + first.length;
    if (*p == '\'') {
      const uint8_t* contraction = after_contraction(p);
      if (contraction != p) return contraction;
    }
    if (is_letter(first.char_class)) return after_letters(second);
    if (first.char_class == kNumber)
      return pattern_ == Pattern::kQwen2 ? second : after_numbers(p);
    if (first.char_class != kNewline && second != end_) {
      const Character next = character_at(second, end_);
      if (is_letter(next.char_class)) return after_letters(second + next.length);
    }
    if (const uint8_t* others = after_others(p, first, false); others != p) return others;
    return after_spaces(p, pattern_ == Pattern::kCl100k);
  }

  // o200k, with U for [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and W for [\p{Ll}\p{Lm}\p{Lo}\p{M}] and C
  // for (?i:'s|'t|'re|'ve|'m|'ll|'d):
  //   [^\r\n\p{L}\p{N}]?U*W+C?|[^\r\n\p{L}\p{N}]?U+W*C?|\p{N}{1,3}
  //   | ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
  const uint8_t* o200k_pretoken(const uint8_t* p) const {
    const Character first = character_at(p, end_);
    const uint8_t* const second = p + first.length;
    if (first.char_class == kNumber) return after_numbers(p);
    const bool prefix = !is_letter(first.char_class) && first.char_class != kNewline;
    for (const auto word : {&RunCutter::after_lower_word, &RunCutter::after_upper_word}) {
      if (prefix) {
        const uint8_t* after = (this->*word)(second);
        if (after != second) return after_contraction(after);
      }
      // A mark is both a possible prefix and a possible first letter.
      const uint8_t* after = (this->*word)(p);
      if (after != p) return after_contraction(after);
    }
    if (const uint8_t* others = after_others(p, first, true); others != p) return others;
    return after_spaces(p, false);
  }

  static bool is_upper_like(uint8_t c) { return c >= kUpper && c <= kMark; }
  static bool is_lower_like(uint8_t c) { return c == kLower || c == kCaseless || c == kMark; }

  // U*W+ or `p`. U* takes all it can and gives back no more than W+ needs: the last character
  // without case, if no lower case follows.
  const uint8_t* after_lower_word(const uint8_t* p) const {
    const uint8_t* after_last_caseless = p;
    Character character{};
    const uint8_t* q = p;
    for (; q != end_; q += character.length) {
      character = character_at(q, end_);
      if (!is_upper_like(character.char_class)) break;
      if (character.char_class != kUpper) after_last_caseless = q + character.length;
    }
    if (q == end_ || character.char_class != kLower) return after_last_caseless;
    for (; q != end_; q += character.length) {
      character = character_at(q, end_);
      if (!is_lower_like(character.char_class)) break;
    }
    return q;
  }

  // U+W* or `p`, where U*W+ did not match: no character of W follows.
  const uint8_t* after_upper_word(const uint8_t* p) const {
    while (p != end_) {
      const Character character = character_at(p, end_);
      if (!is_upper_like(character.char_class)) break;
      p += character.length;
    }
    return p;
  }

  const uint8_t* after_letters(const uint8_t* p) const {
    while (p != end_) {
      const Character character = character_at(p, end_);
      if (!is_letter(character.char_class)) break;
      p += character.length;
    }
    return p;
  }

  const uint8_t* after_numbers(const uint8_t* p) const {
    for (int count = 0; count < 3 && p != end_; ++count) {
      const Character character = character_at(p, end_);
      if (character.char_class != kNumber) break;
      p += character.length;
    }
    return p;
  }

  //  ?[^\s\p{L}\p{N}]+[\r\n]*  (or [\r\n/]*), or `p`.
  const uint8_t* after_others(const uint8_t* p, Character first, bool slashes) const {
    const uint8_t* q = *p == ' ' ? p + 1 : p;
    if (*p != ' ' && !is_other(first.char_class)) return p;
    const uint8_t* const others = q;
    while (q != end_) {
      const Character character = character_at(q, end_);
      if (!is_other(character.char_class)) break;
      q += character.length;
    }
    if (q == others) return p;
    while (q != end_ && (*q == '\r' || *q == '\n' || (slashes && *q == '/'))) ++q;
    return q;
  }

  // White space from `p` on: to the end of the text if `to_end`, or through its last line end, or
  // but for its last character if text follows, or all of it.
  const uint8_t* after_spaces(const uint8_t* p, bool to_end) const {
    const uint8_t* after_newline = p;
    const uint8_t* last = p;
    const uint8_t* q = p;
    while (q != end_) {
      const Character character = character_at(q, end_);
      if (!is_space(character.char_class)) break;
      last = q;
      q += character.length;
      if (character.char_class == kNewline) after_newline = q;
    }
    if (q == end_ && to_end) return q;
    if (after_newline != p) return after_newline;
    return q == end_ || last == p ? q : last;
  }

  // (?i:'s|'t|'re|'ve|'m|'ll|'d) or `p`; U+017F is a lower-case s too.
  const uint8_t* after_contraction(const uint8_t* p) const {
    const size_t left = static_cast<size_t>(end_ - p);
    if (left < 2 || *p != '\'') return p;
    const uint8_t a = p[1] | 0x20;
    if (a == 's' || a == 'd' || a == 'm' || a == 't') return p + 2;
    if (left < 3) return p;
    if (p[1] == 0xC5 && p[2] == 0xBF) return p + 3;
    const uint8_t b = p[2] | 0x20;
    return (a == 'l' && b == 'l') || (b == 'e' && (a == 'v' || a == 'r')) ? p + 3 : p;
  }

  Pattern pattern_;
  const uint8_t* p_;
  const uint8_t* end_;
};

}  // namespace bpe_tok
