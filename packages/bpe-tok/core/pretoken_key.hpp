// Pretokens as keys of hash tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "compiler.hpp"

namespace bpe_tok {

// The key of a pretoken that fits in one word with its length (a tiny one), or in two (a short one).
constexpr size_t kMaxTiny = 7;
constexpr size_t kMaxShort = 15;

struct PretokenKey {
  uint64_t first;
  uint64_t second;  // of a tiny one, the first again
  uint64_t is_short;
};

BPE_TOK_INLINE uint64_t load64(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

namespace internal {

// What of two words is kept, and what is added, by the size of a pretoken.
struct KeyMasks {
  uint64_t kept[2], added[2];
};
struct KeyMaskTable {
  KeyMasks of[kMaxShort + 1];
  KeyMaskTable() {
    for (size_t size = 0; size <= kMaxShort; ++size) {
      uint8_t kept[16] = {}, added[16] = {};
      std::memset(kept, 0xFF, size);
      added[size <= kMaxTiny ? 7 : 15] = static_cast<uint8_t>(size);
      // In memory order, whatever the byte order of the machine.
      of[size] = {{load64(kept), load64(kept + 8)}, {load64(added), load64(added + 8)}};
    }
  }
};
inline const KeyMaskTable kKeyMasks;

}  // namespace internal

// The key of at most kMaxShort bytes, where 16 can be read.
BPE_TOK_INLINE PretokenKey readable_key(const uint8_t* p, size_t size) {
  const internal::KeyMasks& masks = internal::kKeyMasks.of[size];
  const uint64_t first = (load64(p) & masks.kept[0]) | masks.added[0];
  const uint64_t second = (load64(p + 8) & masks.kept[1]) | masks.added[1];
  const bool is_short = size > kMaxTiny;
  return {first, is_short ? second : first, is_short};
}

// The key of at most kMaxShort bytes. No byte at or after `end` is read.
BPE_TOK_INLINE PretokenKey pretoken_key(const uint8_t* p, size_t size, const uint8_t* end) {
  if (end - p >= 16) return readable_key(p, size);
  uint8_t copy[16] = {};
  std::memcpy(copy, p, size);
  return readable_key(copy, size);
}

// Writes the pretoken of a key, and returns its size.
inline size_t bytes_of_key(uint64_t first, uint64_t second, uint8_t (&bytes)[16]) {
  std::memcpy(bytes, &first, 8);
  std::memcpy(bytes + 8, &second, 8);
  return first == second ? bytes[7] : bytes[15];
}

// The high bits of a hash are the good ones.
BPE_TOK_INLINE uint64_t hash_of(uint64_t first, uint64_t second) {
  const uint64_t mixed = (first ^ (first >> 32)) * 0x9E3779B97F4A7C15u + second;
  return (mixed ^ (mixed >> 29)) * 0xD6E8FEB86659FD93u;
}
BPE_TOK_INLINE uint64_t hash_of(const PretokenKey& key) { return hash_of(key.first, key.second); }

inline uint64_t hash_of(const uint8_t* p, size_t size) {
  uint64_t hash = size * 0x9E3779B97F4A7C15u;
  const auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  };
  for (; size >= 8; p += 8, size -= 8) mix(load64(p));
  uint64_t rest = 0;
  std::memcpy(&rest, p, size);
  mix(rest);
  return hash * 0x9E3779B97F4A7C15u;
}

}  // namespace bpe_tok
