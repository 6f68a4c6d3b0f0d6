/* tests/fuzz/schedule.c: any bytes as an expression (first byte E), a time (T), a position (P) or a time
 * zone file (else): it is refused with a reason and a place, or gives times in order. */
#include <stdlib.h>
#include <string.h>

#include "../../plugins/schedule/schedule.h"

static const struct zone utc = {.name = "UTC"};

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_reason(weir_str text, const struct expression_error *why)
{
    require(*why->text && strlen(why->text) < EXPRESSION_ERROR_BYTES && why->at <= text.len);
}

static void try_expression(weir_str text)
{
    struct expression e;
    struct expression_error why = {.at = 0};
    int64_t s = INT64_C(1700000000), next = 0;
    if (!expression_parse(text, &e, &why)) {
        check_reason(text, &why);
        return;
    }
    for (int i = 0; i < 20 && expression_next(&e, &utc, 12345, s, &next); i++) {
        require(next > s && (e.kind != EXPRESSION_CRON || next % 60 == 0));
        s = next;
    }
}

static void try_time(weir_str text)
{
    struct expression_error why = {.at = 0};
    int64_t s = 0, again = 0;
    char back[CALENDAR_TEXT_BYTES];
    if (!expression_time("time", text, &utc, &s, &why)) {
        check_reason(text, &why);
        return;
    }
    calendar_format(s, 0, back);
    /* An offset may lead out of the years that are read. */
    require(!expression_time("time", weir_text(back), &utc, &again, &why) || again == s);
}

static void try_zone(weir_str file)
{
    static struct zone z;
    if (!zone_read(file, &z))
        return;
    for (int64_t s = -INT64_C(5000000000); s < INT64_C(8000000000); s += INT64_C(98765432)) {
        int32_t offset = zone_offset(&z, s);
        int64_t first = 0;
        require(offset >= -26 * 3600 && offset <= 26 * 3600);
        if (zone_utc(&z, s + offset, &first))
            require(first + zone_offset(&z, first) == s + offset);
    }
}

static void try_position(weir_str text)
{
    struct run runs[2] = {{.name = "a", .meaning = 1}, {.name = "b", .meaning = 2}};
    (void)position_read(text, runs, 2);
    for (size_t i = 0; i < 2; i++)
        require(runs[i].last_s >= 0 && runs[i].anchor_s >= 0);
}

/* NOLINTBEGIN(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    char *copy = malloc(size - 1 + (size == 1)); /* exact: one byte beyond is seen */
    memcpy(copy, data + 1, size - 1);
    weir_str text = {copy, size - 1};
    if (*data == 'E')
        try_expression(text);
    else if (*data == 'T')
        try_time(text);
    else if (*data == 'P')
        try_position(text);
    else
        try_zone(text);
    free(copy);
    return 0;
}
/* NOLINTEND(readability-identifier-naming) */
