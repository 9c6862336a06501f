/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Logging: one line an event on stderr,
 *     2026-11-23T06:51:03.123Z LEVEL service: message key=value key="two words"
 * error = a human must act, warn = it healed or will, info = a state changed, debug/trace = detail.
 * Control characters in arguments never reach the output raw: they are written as \xHH.
 * Safe to call from several threads.
 */
#pragma once

#include "base/base.h"

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

#define LOG_LINE_MAX 4096

/* Sets the name in each line (borrowed for the life of the process). */
void log_init(const char *service, enum log_level level);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "TRACE" "debug" "Info" "WARN" "ERR" "error" ...; false when the word is none of them. */
bool log_level_parse(const char *word, enum log_level *ret_level);
const char *log_level_name(enum log_level level);

/* Writes whatever the level; cut at LOG_LINE_MAX bytes. Use the macros. */
void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_at(level, ...)                                                                         \
    do {                                                                                           \
        if ((level) >= log_get_level())                                                            \
            log_write((level), __VA_ARGS__);                                                       \
    } while (0)
#define log_trace(...) log_at(LOG_TRACE, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
