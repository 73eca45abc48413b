// The ASCII classes of 64 bytes at a time, as bit masks.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define BPE_TOK_SSE2 1
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#define BPE_TOK_NEON 1
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#endif

#include "compiler.hpp"

namespace bpe_tok {

constexpr unsigned kBlock = 64;

// Bit i of each mask tells of byte i.
struct ByteMasks {
  uint64_t letters = 0;
  uint64_t numbers = 0;
  uint64_t spaces = 0;   // white space
  uint64_t blanks = 0;   // U+0020 alone
  uint64_t quotes = 0;   // '
  uint64_t high = 0;     // bytes outside ASCII
};

// The mask is not 0.
BPE_TOK_INLINE unsigned lowest_bit(uint64_t mask) {
#if defined(_MSC_VER)
  unsigned long place;
  _BitScanForward64(&place, mask);
  return place;
#else
  return static_cast<unsigned>(__builtin_ctzll(mask));
#endif
}

#if defined(BPE_TOK_SSE2)

// SSE2 is in every x86-64; the classes are a small part of the work, and wider registers gained
// nothing that could be measured.
BPE_TOK_INLINE ByteMasks byte_masks(const uint8_t* block) {
  ByteMasks masks;
  const auto at_most = [](__m128i value, char limit) {
    return _mm_cmpeq_epi8(_mm_min_epu8(value, _mm_set1_epi8(limit)), value);
  };
  for (int i = 0; i < 4; ++i) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 16 * i));
    const auto bits = [i](__m128i matches) {
      return static_cast<uint64_t>(_mm_movemask_epi8(matches)) << (16 * i);
    };
    const __m128i lower = _mm_or_si128(v, _mm_set1_epi8(0x20));
    const __m128i blank = _mm_cmpeq_epi8(v, _mm_set1_epi8(' '));
    const __m128i control = at_most(_mm_sub_epi8(v, _mm_set1_epi8('\t')), '\r' - '\t');
    masks.letters |= bits(at_most(_mm_sub_epi8(lower, _mm_set1_epi8('a')), 'z' - 'a'));
    masks.numbers |= bits(at_most(_mm_sub_epi8(v, _mm_set1_epi8('0')), 9));
    masks.spaces |= bits(_mm_or_si128(blank, control));
    masks.blanks |= bits(blank);
    masks.quotes |= bits(_mm_cmpeq_epi8(v, _mm_set1_epi8('\'')));
    masks.high |= bits(v);
  }
  return masks;
}

#elif defined(BPE_TOK_NEON)

inline uint64_t movemask(const uint8x16_t (&matches)[4]) {
  const uint8x16_t weights = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t low = vpaddq_u8(vandq_u8(matches[0], weights), vandq_u8(matches[1], weights));
  const uint8x16_t high = vpaddq_u8(vandq_u8(matches[2], weights), vandq_u8(matches[3], weights));
  const uint8x16_t sums = vpaddq_u8(low, high);
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

BPE_TOK_INLINE ByteMasks byte_masks(const uint8_t* block) {
  uint8x16_t letters[4], numbers[4], spaces[4], blanks[4], quotes[4], high[4];
  for (int i = 0; i < 4; ++i) {
    const uint8x16_t v = vld1q_u8(block + 16 * i);
    const uint8x16_t lower = vorrq_u8(v, vdupq_n_u8(0x20));
    letters[i] = vcleq_u8(vsubq_u8(lower, vdupq_n_u8('a')), vdupq_n_u8('z' - 'a'));
    numbers[i] = vcleq_u8(vsubq_u8(v, vdupq_n_u8('0')), vdupq_n_u8(9));
    blanks[i] = vceqq_u8(v, vdupq_n_u8(' '));
    spaces[i] = vorrq_u8(blanks[i], vcleq_u8(vsubq_u8(v, vdupq_n_u8('\t')), vdupq_n_u8(4)));
    quotes[i] = vceqq_u8(v, vdupq_n_u8('\''));
    high[i] = vcgeq_u8(v, vdupq_n_u8(0x80));
  }
  return {movemask(letters), movemask(numbers), movemask(spaces),
          movemask(blanks),  movemask(quotes),  movemask(high)};
}

#else

BPE_TOK_INLINE ByteMasks byte_masks(const uint8_t* block) {
  ByteMasks masks;
  for (unsigned i = 0; i < kBlock; ++i) {
    const uint8_t byte = block[i];
    const auto bit = [i](bool matches) { return static_cast<uint64_t>(matches) << i; };
    masks.letters |= bit(static_cast<uint8_t>((byte | 0x20) - 'a') <= 'z' - 'a');
    masks.numbers |= bit(static_cast<uint8_t>(byte - '0') <= 9);
    masks.spaces |= bit(byte == ' ' || static_cast<uint8_t>(byte - '\t') <= '\r' - '\t');
    masks.blanks |= bit(byte == ' ');
    masks.quotes |= bit(byte == '\'');
    masks.high |= bit(byte >= 0x80);
  }
  return masks;
}

#endif

}  // namespace bpe_tok
