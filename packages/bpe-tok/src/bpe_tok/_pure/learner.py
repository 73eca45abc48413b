"""Learning merges: join the most frequent pair of tokens, again and again."""

from collections import defaultdict
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from operator import add


class Learner:
    """Learns the merges of byte-pair encoding from the pretokens of a corpus.

    Each round takes the pair of neighbouring tokens that occurs most often and joins it wherever it
    occurs. Of equally frequent pairs it takes the greatest, compared as a tuple of two byte
    strings. (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with
    Subword Units", on bytes.)

    Args:
        counts: how often each pretoken occurs.
        min_frequency: pairs that occur more seldom are not joined.

    >>> counts = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}
    >>> Learner(counts, min_frequency=1).learn(2)  # "st" has the number 256
    [(115, 116), (101, 256)]
    """

    def __init__(self, counts: Mapping[bytes, int], min_frequency: int) -> None:
        self._min_frequency = max(min_frequency, 1)
        # A word is a string with one character for each of its tokens: at first its bytes, then
        # chr(256 + k) for what merge k makes. So str.split finds a pair and str.join replaces it.
        self._words = [pretoken.decode("latin-1") for pretoken in counts]
        self._word_counts = list(counts.values())
        self._pair_counts: defaultdict[str, int] = defaultdict(int)
        self._words_with: defaultdict[str, list[int]] = defaultdict(list)
        for n, (word, count) in enumerate(zip(self._words, self._word_counts, strict=True)):
            for pair in map(add, word, word[1:]):
                self._pair_counts[pair] += count
                self._words_with[pair].append(n)

        self._token_bytes = [bytes([byte]) for byte in range(256)]
        self._tie_break = [_descending(value) for value in self._token_bytes]
        self._heap = [self._entry(pair, count) for pair, count in self._pair_counts.items()]
        heapify(self._heap)

    def learn(self, num_merges: int) -> list[tuple[int, int]]:
        """Learn the next merges.

        Args:
            num_merges: how many; fewer are if no pairs are left that are frequent enough.

        Returns:
            The pairs in the order learned. A token is the number of a byte, or 256 + k for what the
            k-th merge of this learner made.
        """
        learned: list[tuple[int, int]] = []
        while self._heap and len(learned) < num_merges:
            negative_count, order, pair = heappop(self._heap)
            # Once a merge has made a pair, later merges can only take occurrences of it away. So an
            # entry of the heap is never too low, and one that is too high goes back corrected.
            count = self._pair_counts[pair]
            if count < self._min_frequency:
                continue
            if count < -negative_count:
                heappush(self._heap, (-count, order, pair))
                continue
            left, right = map(ord, pair)
            learned.append((left, right))
            whole = chr(len(self._token_bytes))
            self._token_bytes.append(self._token_bytes[left] + self._token_bytes[right])
            self._tie_break.append(_descending(self._token_bytes[-1]))
            for new_pair, new_count in self._merge_pair(pair, whole).items():
                heappush(self._heap, self._entry(new_pair, new_count))
        return learned

    def _entry(self, pair: str, count: int) -> tuple[int, str, str]:
        order = self._tie_break[ord(pair[0])] + self._tie_break[ord(pair[1])]
        return -count, order, pair

    def _merge_pair(self, pair: str, whole: str) -> dict[str, int]:
        """Replace a pair by its whole in all words; return the counts of the pairs this made."""
        words, pair_counts, words_with = self._words, self._pair_counts, self._words_with
        left, right = pair[0], pair[1]
        made: defaultdict[str, int] = defaultdict(int)
        # The index may list a word twice, or one whose occurrences other merges took since.
        for n in set(words_with.pop(pair)):
            first, *gaps = words[n].split(pair)
            if not gaps:
                continue
            words[n] = whole.join((first, *gaps))
            count = self._word_counts[n]
            last = gaps.pop()
            if first:
                pair_counts[first[-1] + left] -= count
                made[first[-1] + whole] += count
                words_with[first[-1] + whole].append(n)
            if last:
                pair_counts[right + last[0]] -= count
                made[whole + last[0]] += count
                words_with[whole + last[0]].append(n)
            for gap in gaps:
                if gap:
                    pair_counts[right + gap[0]] -= count
                    pair_counts[gap[-1] + left] -= count
                    made[whole + gap[0]] += count
                    made[gap[-1] + whole] += count
                    words_with[whole + gap[0]].append(n)
                    words_with[gap[-1] + whole].append(n)
                else:
                    pair_counts[right + left] -= count
                    made[whole + whole] += count
                    words_with[whole + whole].append(n)
        del pair_counts[pair]
        pair_counts.update(made)
        return made


def _descending(token: bytes) -> str:
    """A string that sorts the opposite way, and does so as the start of a longer string too."""
    return "".join(chr(255 - byte) for byte in token) + chr(256)
