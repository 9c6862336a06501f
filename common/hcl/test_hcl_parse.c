/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The tree: tokens, literals, grammar, messages with their positions, JSON documents, bounds.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "hcl/hcl.h"

/* A tree as text, to compare with: "a=1;b[x]={c=[1,"s"];}". */
static void show(struct strbuf *b, const struct hcl_node *n)
{
    switch (n->type) {
    case HCL_OBJECT:
        strbuf_addc(b, '{');
        for (size_t i = 0; i < n->items.n; i++) {
            const struct hcl_item *it = &n->items.v[i];

            for (unsigned k = 0; k < it->n_keys; k++)
                strbuf_addf(b, k ? "[%s]" : "%s", it->keys[k].text);
            strbuf_addc(b, '=');
            show(b, it->val);
            strbuf_addc(b, ';');
        }
        strbuf_addc(b, '}');
        break;
    case HCL_LIST:
        strbuf_addc(b, '[');
        for (size_t i = 0; i < n->list.n; i++) {
            if (i)
                strbuf_addc(b, ',');
            show(b, n->list.v[i]);
        }
        strbuf_addc(b, ']');
        break;
    case HCL_STRING:
        strbuf_addc(b, '\'');
        strbuf_add(b, n->lit.text, n->lit.len);
        strbuf_addc(b, '\'');
        break;
    case HCL_NUMBER:
        strbuf_addf(b, "%s", n->lit.text);
        break;
    case HCL_FLOAT:
        strbuf_addf(b, "%sf", n->lit.text);
        break;
    case HCL_BOOL:
        strbuf_addf(b, "#%s", n->lit.text);
        break;
    }
}

static const struct {
    const char *src, *tree;
} good[] = {
    {"", "{}"},
    {" \n\t# comment\n// another\n/* a\n third */", "{}"},
    {"a = 1", "{a=1;}"},
    {"a = 1 b = 2, c = 3,", "{a=1;b=2;c=3;}"},
    {"a=true b=false c=truely-yes {}", NULL},
    {"a-b.c_d = 0x1F # end", "{a-b.c_d=0x1F;}"},
    {"\xc3\xa9t\xc3\xa9 = -12", "{\xc3\xa9t\xc3\xa9=-12;}"},
    {"a = 010\nb = -1.5\nc = 1e3\nd = 1.5E-7\ne = .5", "{a=010;b=-1.5f;c=1e3f;d=1.5E-7f;e=.5f;}"},
    {"\"quo ted\" = \"v\"", "{quo ted='v';}"},
    {"job \"x\" \"y\" { a = 1 }", "{job[x][y]={a=1;};}"},
    {"a = { b = [1, \"two\", true, [3], { c = 4 },], }", "{a={b=[1,'two',#true,[3],{c=4;}];};}"},
    {"a {} a {}", "{a={};a={};}"},
    {"a = [\n1, # one\n2 /* two */\n,\n]", "{a=[1,2];}"},
    {"s = \"a\\tb\\n\\\"q\\\" \\\\ \\101\\x41\\u00e9\\U0001F600\"",
     "{s='a\tb\n\"q\" \\ AA\xc3\xa9\xf0\x9f\x98\x80';}"},
    {"s = \"${a[\"b\"]} {x} $y ${c{d}e}\\t\"", "{s='${a[\"b\"]} {x} $y ${c{d}e}\t';}"},
    {"s = \"${a\nb}\"", "{s='${a\nb}';}"},
    {"s = \"$${var.x}\"", "{s='$${var.x}';}"},
    {"h = <<EOF\nline \\n \"one\"\n  two\nEOF\n", "{h='line \\n \"one\"\n  two\n';}"},
    {"h = <<EOF\nEOF\nb = 1", "{h='';b=1;}"},
    {"h = <<EOF\na\n  EOF\n", "{h='a\n  ';}"},
    {"h = <<-EOF\n    a\n      b\n    EOF\n", "{h='a\n  b\n';}"},
    {"h = <<-EOF\n    a\n  b\n    EOF\n", "{h='    a\n  b\n';}"},
    {"h = <<-EOF\n  a\n\n  b\n  EOF\n", "{h='  a\n\n  b\n';}"},
    {"h = <<-EOF\n  a\nEOF\n", "{h='  a\n';}"},
    {"h = <<EOF\r\na\r\nEOF\r\n", "{h='a\n';}"},
    {"h = [<<A\nx\nA\n, <<B\ny\nB\n]", "{h=['x\n','y\n'];}"},
    {"{\"job\":{\"a\":{\"type\":\"b\",\"n\":1}}}", "{job[a]={type='b';n=1;};}"},
    {"{\"a\":[{\"x\":1},{\"y\":2}],\"b\":[1,true,[2]],\"c\":{},\"d\":null,\"e\":-1.5}",
     "{a={x=1;};a={y=2;};b=[1,#true,[2]];c={};d='';e=-1.5f;}"},
    {"{\"a\":{\"b\":{\"c\":{\"d\":1}}}}", "{a[b][c]={d=1;};}"},
    {"{\"s\":\"\\u00e9\\ud83d\\ude00\\/${x\\ty}\"}", "{s='\xc3\xa9\xf0\x9f\x98\x80/${x\ty}';}"},
};

START_TEST(test_good)
{
    struct hcl_error err = {0};

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct strbuf b = STRBUF_INIT;
        struct hcl_node *root = NULL;
        int r = hcl_parse(good[i].src, strlen(good[i].src), &root, &err);

        if (!good[i].tree) {
            ck_assert_int_eq(r, -EINVAL);
            continue;
        }
        ck_assert_msg(r == 0, "%s: %s", good[i].src, err.text);
        show(&b, root);
        ck_assert_str_eq(b.data, good[i].tree);
        strbuf_fini(&b);
        ck_assert_ptr_null(hcl_free(root));
    }
}
END_TEST

static const struct {
    const char *src, *text;
    unsigned line, column;
} bad[] = {
    {"job \"x\" {\n", "At 2:2: object expected closing RBRACE got: EOF", 2, 2},
    {"a", "At 1:3: key 'a' expected start of object ('{') or assignment ('=')", 1, 3},
    {"job \"x\"", "At 1:8: key 'job \"x\"' expected start of object ('{') or assignment ('=')", 1,
     8},
    {"a =", "At 1:4: Unknown token: 1:4 EOF ", 1, 4},
    {"a \"b\" = 1", "At 1:7: nested object expected: LBRACE got: ASSIGN", 1, 7},
    {"= 1", "At 1:1: no object keys found!", 1, 1},
    {"{", "At 1:2: expected: STRING got: EOF", 1, 2},
    {"a = [1 2]", "At 1:8: error parsing list, expected comma or list end, got: NUMBER", 1, 8},
    {"a = [1,", "At 1:8: unexpected token while parsing list: EOF", 1, 8},
    {"a = [{ b }]",
     "At 1:6: error while trying to parse object within list: At 1:10: key 'b' expected start of "
     "object ('{') or assignment ('=')",
     1, 10},
    {"a {\n  b = }\n}", "At 2:7: Unknown token: 2:7 RBRACE }", 2, 7},
    {"a = \"x", "At 1:7: literal not terminated", 1, 7},
    {"a = \"x\n\"", "At 2:2: literal not terminated", 2, 2},
    {"a = \"\\q\"", "At 1:7: illegal char escape", 1, 7},
    {"a = \"\\08\"", "At 1:8: illegal char escape", 1, 8},
    {"a = 089", "At 1:8: illegal octal number", 1, 8},
    {"a = 0x", "At 1:7: illegal hexadecimal number", 1, 7},
    {"a = 1e", "At 1:6: illegal exponent", 1, 6},
    {"a = @", "At 1:5: illegal char", 1, 5},
    {"a = 1\n/* b", "At 2:5: comment not terminated", 2, 5},
    {"/ a", "At 1:1: expected '/' for comment", 1, 1},
    {"a = <EOF", "At 1:6: heredoc expected second '<', didn't see it", 1, 6},
    {"a = <<EOF x\n", "At 1:10: invalid characters in heredoc anchor", 1, 10},
    {"a = <<\n", "At 1:7: zero-length heredoc anchor", 1, 7},
    {"a = <<EOF\nb", "At 2:2: heredoc not terminated", 2, 2},
    {"a = \"\xff\"", "At 1:6: illegal UTF-8 encoding", 1, 6},
    {"a = \"\\ud800\\UFFFFFFFF\"", "At 1:5: invalid string literal", 1, 5},
    {"count = var.x", "At 1:9: Unknown token: 1:9 IDENT var.x (HCL2 expressions are not supported)",
     1, 9},
    {"a = [\n  local.x]",
     "At 2:3: unexpected token while parsing list: IDENT local.x (HCL2 expressions are not "
     "supported)",
     2, 3},
    {"a = \"b-${var.region}\"", "At 1:8: HCL2 expressions are not supported: ${var.region}", 1, 8},
    {"a = \"${upper(\"x\")}\"", "At 1:6: HCL2 expressions are not supported: ${upper(\"x\")}", 1,
     6},
    {"a = <<E\nx\n\xc3\xa9 ${ local.y }\nE\n",
     "At 3:3: HCL2 expressions are not supported: ${ local.y }", 3, 3},
    {"{\"a\":tru}", "1:8: illegal char", 1, 8},
    {"{\"a\":01}", "1:7: numbers cannot start with 0", 1, 7},
    {"{\"a\" 1}", "At 1:6: expected: COLON got: NUMBER", 1, 6},
    {"{\"a\":1 \"b\":2}", "At 1:8: expected: COMMA | RBRACE got: STRING", 1, 8},
    {"{\"a\":[1 2]}", "At 1:9: expected: COMMA | RBRACK got: NUMBER", 1, 9},
    {"{\"a\":1} x", "1:10: illegal char", 1, 10},
    {"{\"a\":1} {", "At 1:9: expected: EOF got: LBRACE", 1, 9},
    {"{\"a\":\n}", "At 2:1: expected: value got: RBRACE", 2, 1},
};

START_TEST(test_bad)
{
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct hcl_error err = {0};
        struct hcl_node *root = NULL;

        ck_assert_msg(hcl_parse(bad[i].src, strlen(bad[i].src), &root, &err) == -EINVAL, "%s",
                      bad[i].src);
        ck_assert_ptr_null(root);
        ck_assert_str_eq(err.text, bad[i].text);
        ck_assert_msg(err.line == bad[i].line && err.column == bad[i].column, "%s: %u:%u",
                      bad[i].src, err.line, err.column);
    }
}
END_TEST

/* What begins right can be cut off anywhere, and must not be read beyond. */
START_TEST(test_cut_off)
{
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        for (size_t n = 0; n < strlen(good[i].src); n++) {
            struct hcl_error err = {0};
            struct hcl_node *root = NULL;
            char *exact = malloc(n + 1); /* so that a sanitizer sees the end */

            ck_assert_ptr_nonnull(exact);
            memcpy(exact, good[i].src, n);
            exact = realloc(exact, MAX(n, (size_t)1));
            if (hcl_parse(exact, n, &root, &err) < 0)
                ck_assert_uint_ne(strlen(err.text), 0);
            (void)hcl_free(root);
            free(exact);
        }
}
END_TEST

START_TEST(test_positions)
{
    static const char src[] = "a = 1\n\xc3\xa9 \"l\" {\n  b = [\"x\",\n   { c = 2 }]\n}\n";
    struct hcl_error err = {0};
    struct hcl_node *root = NULL;
    const struct hcl_item *it;
    const struct hcl_node *b;

    ck_assert_int_eq(hcl_parse(src, strlen(src), &root, &err), 0);
    ck_assert_ptr_null(hcl_find(root, "b"));
    it = hcl_find(root, "\xc3\xa9");
    ck_assert_ptr_nonnull(it);
    ck_assert_uint_eq(it->line, 2);
    ck_assert_uint_eq(it->column, 1);
    ck_assert_uint_eq(it->n_keys, 2);
    ck_assert_uint_eq(it->keys[1].column, 3);
    ck_assert(it->keys[1].quoted && !it->keys[0].quoted);
    ck_assert_uint_eq(it->val->column, 7);
    b = hcl_find(it->val, "b")->val;
    ck_assert_uint_eq(b->line, 3);
    ck_assert_uint_eq(b->column, 7);
    ck_assert_uint_eq(b->list.v[1]->line, 4);
    ck_assert_uint_eq(b->list.v[1]->column, 4);
    ck_assert_uint_eq(hcl_find(b->list.v[1], "c")->val->column, 10);
    (void)hcl_free(root);
}
END_TEST

static int parse_repeated(const char *head, const char *unit, size_t n, const char *tail,
                          struct hcl_error *err)
{
    struct strbuf b = STRBUF_INIT;
    struct hcl_node *root = NULL;
    int r;

    strbuf_adds(&b, head);
    for (size_t i = 0; i < n; i++)
        strbuf_adds(&b, unit);
    strbuf_adds(&b, tail);
    r = hcl_parse(b.data, b.len, &root, err);
    (void)hcl_free(root);
    strbuf_fini(&b);
    return r;
}

START_TEST(test_bounds)
{
    struct hcl_error err = {0};
    struct hcl_node *root = NULL;

    ck_assert_int_eq(parse_repeated("a = ", "[", HCL_DEPTH_MAX + 1, "", &err), -E2BIG);
    ck_assert_ptr_nonnull(strstr(err.text, "nested too deeply"));
    ck_assert_int_eq(parse_repeated("", "a {", HCL_DEPTH_MAX + 1, "", &err), -E2BIG);
    ck_assert_int_eq(parse_repeated("{", "\"a\":{", HCL_DEPTH_MAX, "", &err), -E2BIG);
    ck_assert_int_eq(parse_repeated("", "a=1\n", HCL_ITEMS_MAX, "", &err), 0);
    ck_assert_int_eq(parse_repeated("", "a=1\n", HCL_ITEMS_MAX + 1, "", &err), -E2BIG);
    ck_assert_ptr_nonnull(strstr(err.text, "too many items"));
    ck_assert_uint_eq(err.line, HCL_ITEMS_MAX + 1);
    ck_assert_int_eq(parse_repeated("a = [", "1,", HCL_NODES_MAX, "]", &err), -E2BIG);
    ck_assert_int_eq(parse_repeated("a ", "b ", HCL_DEPTH_MAX, "{}", &err), -E2BIG);
    ck_assert_int_eq(hcl_parse_max("a = 1", 5, 4, &root, &err), -E2BIG);
    ck_assert_str_eq(err.text, "document larger than 4 bytes");
    ck_assert_ptr_null(root);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");

    tcase_add_test(tc, test_good);
    tcase_add_test(tc, test_bad);
    tcase_add_test(tc, test_cut_off);
    tcase_add_test(tc, test_positions);
    tcase_add_test(tc, test_bounds);
    return check_run("hcl_parse", tc, NULL);
}
