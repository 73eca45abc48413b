"""Learning merges: join the most frequent pair of tokens, again and again."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from operator import add

MAX_MERGES = 0x110000 - 256
"""Each token is one character of a Python string while we learn, and there are no more of them."""


def learn_merges(
    counts: Mapping[str, int],
    num_merges: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[tuple[bytes, bytes]]:
    """Learn the merges of byte-pair encoding from the pretokens of a corpus.

    Each round takes the pair of neighbouring tokens that occurs most often and joins it wherever
    it occurs. Of equally frequent pairs it takes the greatest, compared as a tuple of two byte
    strings. (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with
    Subword Units", on bytes.)

    Args:
        counts: how often each pretoken occurs.
        num_merges: how many merges to learn; fewer are if no pairs are left.
        on_progress: called with (merges learned, `num_merges`) about a hundred times in all.

    Returns:
        The pairs in the order learned.

    >>> learn_merges({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 3)
    [(b's', b't'), (b'e', b'st'), (b'o', b'w')]
    """
    # A word is a string with one character for each of its tokens: at first its bytes, then
    # chr(256 + k) for what merge k makes. So str.split finds a pair and str.join replaces it.
    words = [pretoken.encode().decode("latin-1") for pretoken in counts]
    word_counts = list(counts.values())
    pair_counts: defaultdict[str, int] = defaultdict(int)
    words_with: defaultdict[str, list[int]] = defaultdict(list)
    for n, (word, count) in enumerate(zip(words, word_counts, strict=True)):
        for pair in map(add, word, word[1:]):
            pair_counts[pair] += count
            words_with[pair].append(n)

    token_bytes = {chr(byte): bytes([byte]) for byte in range(256)}
    tie_break = {token: _descending(value) for token, value in token_bytes.items()}
    heap = [(-count, tie_break[p[0]] + tie_break[p[1]], p) for p, count in pair_counts.items()]
    heapify(heap)
    merges: list[tuple[bytes, bytes]] = []
    interval = max(num_merges // 100, 1)
    while heap and len(merges) < num_merges:
        negative_count, order, pair = heappop(heap)
        # Once a merge has made a pair, later merges can only take occurrences of it away. So an
        # entry of the heap is never too low, and one that is too high goes back corrected.
        count = pair_counts[pair]
        if count < -negative_count:
            if count > 0:
                heappush(heap, (-count, order, pair))
            continue
        whole = chr(256 + len(merges))
        left, right = pair[0], pair[1]
        merges.append((token_bytes[left], token_bytes[right]))
        token_bytes[whole] = token_bytes[left] + token_bytes[right]
        tie_break[whole] = _descending(token_bytes[whole])
        made = _merge_pair(pair, whole, words, word_counts, pair_counts, words_with)
        for new_pair, new_count in made.items():
            order = tie_break[new_pair[0]] + tie_break[new_pair[1]]
            heappush(heap, (-new_count, order, new_pair))
        if on_progress is not None and len(merges) % interval == 0:
            on_progress(len(merges), num_merges)
    if on_progress is not None and (len(merges) % interval or not merges):
        on_progress(len(merges), num_merges)
    return merges


def _merge_pair(
    pair: str,
    whole: str,
    words: list[str],
    word_counts: list[int],
    pair_counts: defaultdict[str, int],
    words_with: defaultdict[str, list[int]],
) -> defaultdict[str, int]:
    """Replace a pair by its whole in all words, and return the counts of the pairs this made."""
    left, right = pair[0], pair[1]
    made: defaultdict[str, int] = defaultdict(int)
    # The index may list a word twice, or one whose occurrences other merges took since.
    for n in set(words_with.pop(pair)):
        first, *gaps = words[n].split(pair)
        if not gaps:
            continue
        words[n] = whole.join((first, *gaps))
        count = word_counts[n]
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
