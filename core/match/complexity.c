/* match/complexity.c: how many beginnings of a wildcard one text can satisfy at the same time.
 *
 * Counted are the beginnings that reach to the first star or beyond. Once a star is reached it stays
 * reached; so the worst text reaches them all and then ends like as many beginnings of pieces as
 * possible. Those that it ends with are ends of the longest of them, itself the beginning of a piece:
 * it is enough to look at these. */
#include "match/complexity.h"

#include <stdint.h>

#include "base/mem.h"

/* For each beginning of the piece the length of the longest shorter one that it ends with. */
static void find_borders(weir_str piece, size_t *border)
{
    size_t n = 0;
    border[0] = 0;
    for (size_t i = 1; i < piece.len; i++) {
        while (n && piece.ptr[n] != piece.ptr[i])
            n = border[n - 1];
        n += piece.ptr[n] == piece.ptr[i];
        border[i] = n;
    }
}

/* Adds to found[i] how many beginnings of the piece the first i + 1 bytes of the text end with. */
static void count_ends(weir_str piece, const size_t *border, weir_str text, size_t *found)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        while (n && (n == piece.len || piece.ptr[n] != text.ptr[i]))
            n = border[n - 1];
        n += piece.ptr[n] == text.ptr[i];
        for (size_t k = n; k && found[i] <= COMPLEXITY_MAX; k = border[k - 1])
            found[i]++;
    }
}

bool complexity_is_too_high(const weir_str *pieces, size_t count)
{
    size_t stars = count - 1, longest = 0, most = 0;
    if (!stars || stars > COMPLEXITY_MAX)
        return stars != 0;
    for (size_t i = 1; i < count; i++)
        longest = pieces[i].len > longest ? pieces[i].len : longest;
    size_t *borders = mem_new((longest + 1) * sizeof *borders);
    size_t *found = mem_new((longest + 1) * sizeof *found);
    for (size_t text = 1; text < count; text++) {
        memset(found, 0, (longest + 1) * sizeof *found);
        for (size_t i = 1; i < count; i++) {
            if (!pieces[i].len)
                continue;
            find_borders(pieces[i], borders);
            count_ends(pieces[i], borders, pieces[text], found);
        }
        for (size_t i = 0; i < pieces[text].len; i++)
            most = found[i] > most ? found[i] : most;
    }
    mem_free(borders);
    mem_free(found);
    return stars + most > COMPLEXITY_MAX;
}
