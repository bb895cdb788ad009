#include "daemon/bus/authority.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "proto/error.h"

#define POLKIT           "org.freedesktop.PolicyKit1"
#define POLKIT_PATH      "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define BUS              "org.freedesktop.DBus"
#define BUS_PATH         "/org/freedesktop/DBus"

enum {
    ALLOW_USER_INTERACTION = 1, /* CheckAuthorizationFlags of polkit's interface */
    /* How long an answer may take: a person has to find the dialog and type a password. */
    ANSWER_US = 25 * 1000 * 1000,
    ANSWER_OF_A_PERSON_US = 120 * 1000 * 1000,
    WHO_US = 10 * 1000 * 1000,
    /* Open at once. Each is a watch on the bus, which allows 512 a connection. */
    QUESTIONS_MAX = 256,
    QUESTIONS_OF_ONE_MAX = 64,
};

enum question_state {
    QUESTION_WHO,      /* the bus is asked who the caller is */
    QUESTION_POLKIT,   /* polkit is asked */
    QUESTION_ALLOWED,  /* the message is on its way in again */
    QUESTION_RETURNED, /* it has come in: a handler may take the answer, and nobody after that */
};

struct question {
    struct authority *authority;
    struct question *next;
    enum question_state state;
    sd_bus_message *message;
    struct authority_ask ask;
    struct authority_caller caller;
    uint64_t number;              /* of its cancellation id */
    sd_bus_slot *pending, *watch; /* the call under way; the caller's life */
};

struct authority {
    sd_bus *bus;
    sd_bus_slot *filter;
    struct question *questions;
    uint64_t last_number;
};

/* ---- the list -------------------------------------------------------------------------------- */

static void drop(struct question *question) {
    struct question **link = &question->authority->questions;

    while (*link != question)
        link = &(*link)->next;
    *link = question->next;
    sd_bus_slot_unref(question->pending);
    sd_bus_slot_unref(question->watch);
    sd_bus_message_unref(question->message);
    free(question);
}

static struct question *find(const struct authority *authority, const sd_bus_message *message) {
    struct question *question = authority->questions;

    while (question && question->message != message)
        question = question->next;
    return question;
}

static bool is_open(const struct question *question) {
    return question->state == QUESTION_WHO || question->state == QUESTION_POLKIT;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void warn(int r, const char *what) {
    if (r < 0)
        log_warning("%s: %s", what, strerror(-r));
}

static void refuse(struct question *question, enum wipyd_error code, const char *why) {
    log_info("uid %u may not do what %s is for: %s", (unsigned)question->caller.uid, question->ask.action,
             why);
    warn(sd_bus_reply_method_errorf(question->message, wipyd_error_bus_name(code), "%s: %s",
                                    question->ask.action, why),
         "refusing a call");
    drop(question);
}

/* The message takes the whole way in once more: what it is about may have gone meanwhile. */
static void allow(struct question *question) {
    int r = sd_bus_message_rewind(question->message, true);

    question->state = QUESTION_ALLOWED;
    question->watch = sd_bus_slot_unref(question->watch);
    if (r >= 0)
        r = sd_bus_enqueue_for_read(question->authority->bus, question->message);
    if (r >= 0)
        return;
    warn(sd_bus_reply_method_errno(question->message, r, NULL), "refusing a call");
    drop(question);
}

static void allow_own_user(struct question *question, const char *why) {
    if (question->caller.uid == geteuid())
        allow(question);
    else
        refuse(question, WIPYD_ERROR_NOT_AUTHORIZED, why);
}

/* ---- polkit ---------------------------------------------------------------------------------- */

static void take_back(const struct question *question) {
    char id[32];

    if (question->state != QUESTION_POLKIT)
        return;
    snprintf(id, sizeof id, "wipyd-%" PRIu64, question->number);
    /* Nobody waits for the answer. */
    warn(sd_bus_call_method_async(question->authority->bus, NULL, POLKIT, POLKIT_PATH, POLKIT_INTERFACE,
                                  "CancelCheckAuthorization", NULL, NULL, "s", id),
         "taking a question back from polkit");
}

static bool is_too_late(sd_bus_message *reply) {
    return sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NO_REPLY) ||
           sd_bus_message_is_method_error(reply, SD_BUS_ERROR_TIMEOUT) ||
           sd_bus_message_is_method_error(reply, "System.Error.ETIMEDOUT");
}

/* Whether polkit's details say that the person closed the dialog. */
static bool was_dismissed(sd_bus_message *reply) {
    const char *key, *value;
    bool is = false;

    if (sd_bus_message_enter_container(reply, 'a', "{ss}") < 0)
        return false;
    while (sd_bus_message_read(reply, "{ss}", &key, &value) > 0)
        is |= !strcmp(key, "polkit.dismissed") && *value;
    return is;
}

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    struct question *question = userdata;
    int is_authorized, is_challenge, r;

    (void)error;
    if (sd_bus_message_is_method_error(reply, NULL)) {
        if (is_too_late(reply)) {
            take_back(question);
            allow_own_user(question, "polkit did not answer in time");
        } else {
            /* That there is none is fine; that it doesn't know our actions, or us, has to be mended. */
            log_with(sd_bus_message_is_method_error(reply, SD_BUS_ERROR_SERVICE_UNKNOWN) ? LOG_DEBUG
                                                                                         : LOG_WARNING,
                     NULL, "polkit: %s", sd_bus_message_get_error(reply)->message);
            allow_own_user(question, "polkit can't be asked, so it takes root");
        }
        return 0;
    }
    r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
    if (r >= 0)
        r = sd_bus_message_read(reply, "bb", &is_authorized, &is_challenge);
    if (r < 0)
        refuse(question, WIPYD_ERROR_NOT_AUTHORIZED, "polkit's answer makes no sense");
    else if (is_authorized)
        allow(question);
    else if (was_dismissed(reply))
        refuse(question, WIPYD_ERROR_NOT_AUTHORIZED, "the question was dismissed");
    else
        refuse(question, WIPYD_ERROR_NOT_AUTHORIZED,
               is_challenge ? "a password is wanted, and nobody could be asked for it" : "polkit says no");
    return 0;
}

static int append_details(sd_bus_message *call, const struct authority_ask *ask) {
    const struct {
        const char *key, *value;
    } details[] = {
        { "device", ask->device },
        { "board", ask->board },
        { "version", ask->version },
        { "file", ask->file },
    };
    int r = sd_bus_message_open_container(call, 'a', "{ss}");

    for (size_t i = 0; r >= 0 && i < sizeof details / sizeof *details; i++)
        if (*details[i].value)
            r = sd_bus_message_append(call, "{ss}", details[i].key, details[i].value);
    return r < 0 ? r : sd_bus_message_close_container(call);
}

static int ask_polkit(struct question *question) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    sd_bus *bus = question->authority->bus;
    bool may_ask_a_person = sd_bus_message_get_allow_interactive_authorization(question->message) > 0;
    char id[32];
    int r = sd_bus_message_new_method_call(bus, &call, POLKIT, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CheckAuthorization");

    snprintf(id, sizeof id, "wipyd-%" PRIu64, question->number);
    if (r >= 0)
        r = sd_bus_message_append(call, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                  sd_bus_message_get_sender(question->message), question->ask.action);
    if (r >= 0)
        r = append_details(call, &question->ask);
    if (r >= 0)
        r = sd_bus_message_append(call, "us", may_ask_a_person ? ALLOW_USER_INTERACTION : 0, id);
    if (r < 0)
        return r;
    question->pending = sd_bus_slot_unref(question->pending);
    question->state = QUESTION_POLKIT;
    return sd_bus_call_async(bus, &question->pending, call, on_polkit, question,
                             may_ask_a_person ? ANSWER_OF_A_PERSON_US : ANSWER_US);
}

/* ---- the caller ------------------------------------------------------------------------------ */

static int read_caller(sd_bus_message *reply, struct authority_caller *ret) {
    bool has_uid = false;
    const char *key;
    uint32_t value;
    int r = sd_bus_message_enter_container(reply, 'a', "{sv}");

    while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
        r = sd_bus_message_read_basic(reply, 's', &key);
        if (r < 0)
            return r;
        if (!strcmp(key, "UnixUserID") || !strcmp(key, "ProcessID")) {
            r = sd_bus_message_read(reply, "v", "u", &value);
            if (*key == 'U') {
                ret->uid = value;
                has_uid = true;
            } else {
                ret->pid = (pid_t)value;
            }
        } else {
            r = sd_bus_message_skip(reply, "v");
        }
        if (r >= 0)
            r = sd_bus_message_exit_container(reply);
    }
    return r < 0 ? r : has_uid ? 0 : -ENODATA;
}

static bool is_one_too_many(const struct question *question) {
    unsigned n = 0;

    for (const struct question *other = question->authority->questions; other; other = other->next)
        n += other->state == QUESTION_POLKIT && other->caller.uid == question->caller.uid;
    return n >= QUESTIONS_OF_ONE_MAX;
}

static bool is_owner(const struct question *question) {
    char by[32];

    snprintf(by, sizeof by, "uid %u", (unsigned)question->caller.uid);
    return !strcmp(question->ask.owner, by);
}

static int on_who(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    struct question *question = userdata;
    const sd_bus_error *failure = sd_bus_message_get_error(reply);
    char why[256];
    int r;

    (void)error;
    if (failure || read_caller(reply, &question->caller) < 0) {
        question->caller.uid = (uid_t)-1;
        snprintf(why, sizeof why, "the bus can't say who asks: %s",
                 !failure           ? "it names no user"
                 : failure->message ? failure->message
                                    : failure->name);
        refuse(question, WIPYD_ERROR_NOT_AUTHORIZED, why);
        return 0;
    }
    /* As polkit itself has it, and also where it hangs. */
    if (question->caller.uid == 0 || is_owner(question)) {
        allow(question);
        return 0;
    }
    if (is_one_too_many(question)) {
        refuse(question, WIPYD_ERROR_NOT_AUTHORIZED, "too many questions of this user are open");
        return 0;
    }
    r = ask_polkit(question);
    if (r < 0) {
        warn(r, "asking polkit");
        allow_own_user(question, "polkit can't be asked, so it takes root");
    }
    return 0;
}

static int on_owner_changed(sd_bus_message *signal, void *userdata, sd_bus_error *error) {
    struct question *question = userdata;
    const char *name, *before, *now;

    (void)error;
    if (sd_bus_message_read(signal, "sss", &name, &before, &now) < 0 || *now || !is_open(question))
        return 0;
    take_back(question);
    drop(question);
    return 0;
}

/* Without a watch the question ends by its time. */
static int on_watched(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    (void)userdata, (void)error;
    if (sd_bus_message_is_method_error(reply, NULL))
        log_debug("watching a caller: %s", sd_bus_message_get_error(reply)->message);
    return 0;
}

/* The watch comes first: a caller that vanishes before it isn't known to the bus any more. */
static int ask_who(struct question *question) {
    sd_bus *bus = question->authority->bus;
    const char *sender = sd_bus_message_get_sender(question->message);
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    char match[512];
    int r;

    snprintf(match, sizeof match,
             "type='signal',sender='" BUS "',path='" BUS_PATH "',interface='" BUS
             "',member='NameOwnerChanged',arg0='%s'",
             sender);
    r = sd_bus_add_match_async(bus, &question->watch, match, on_owner_changed, on_watched, question);
    if (r >= 0)
        r = sd_bus_message_new_method_call(bus, &call, BUS, BUS_PATH, BUS, "GetConnectionCredentials");
    if (r >= 0)
        r = sd_bus_message_append_basic(call, 's', sender);
    if (r >= 0)
        r = sd_bus_call_async(bus, &question->pending, call, on_who, question, WHO_US);
    return r;
}

/* ---- the gate -------------------------------------------------------------------------------- */

static int ask_anew(struct authority *authority, sd_bus_message *message, const struct authority_ask *ask,
                    sd_bus_error *error) {
    struct question *question;
    unsigned n = 0;
    int r;

    for (const struct question *other = authority->questions; other; other = other->next)
        n++;
    if (n >= QUESTIONS_MAX)
        return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED, "too many calls wait for permission");
    if (!sd_bus_message_get_sender(message))
        return sd_bus_error_set(error, wipyd_error_bus_name(WIPYD_ERROR_NOT_AUTHORIZED),
                                "the call has no sender");
    question = calloc(1, sizeof *question);
    if (!question)
        return -ENOMEM;
    question->authority = authority;
    question->message = sd_bus_message_ref(message);
    question->ask = *ask;
    question->number = ++authority->last_number;
    question->next = authority->questions;
    authority->questions = question;
    r = ask_who(question);
    if (r < 0)
        drop(question);
    return r < 0 ? r : 0;
}

int authority_check(struct authority *authority, sd_bus_message *message, const struct authority_ask *ask,
                    struct authority_caller *ret_caller, sd_bus_error *error) {
    struct question *question = find(authority, message);
    struct authority_caller caller;
    bool is_the_same;

    if (!question)
        return ask_anew(authority, message, ask, error);
    /* What was allowed may have become something else: the board behind the port is another one now. */
    is_the_same = !strcmp(question->ask.action, ask->action) && !strcmp(question->ask.device, ask->device) &&
                  !strcmp(question->ask.board, ask->board) && !strcmp(question->ask.version, ask->version) &&
                  !strcmp(question->ask.owner, ask->owner);
    caller = question->caller;
    drop(question);
    if (!is_the_same)
        return ask_anew(authority, message, ask, error);
    *ret_caller = caller;
    return 1;
}

/* Sees every message before its handler. An answer that no handler took, because what the call was about has
 * gone, is forgotten with the next message. */
static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct authority *authority = userdata;
    struct question *next;

    (void)error;
    for (struct question *question = authority->questions; question; question = next) {
        next = question->next;
        if (question->state == QUESTION_RETURNED)
            drop(question);
        else if (question->message == message && question->state == QUESTION_ALLOWED)
            question->state = QUESTION_RETURNED;
    }
    return 0;
}

int authority_new(struct authority **ret, sd_bus *bus) {
    struct authority *authority = calloc(1, sizeof *authority);
    int r;

    if (!authority)
        return -ENOMEM;
    authority->bus = sd_bus_ref(bus);
    r = sd_bus_add_filter(bus, &authority->filter, on_message, authority);
    if (r < 0) {
        authority_close(authority);
        return r;
    }
    *ret = authority;
    return 0;
}

struct authority *authority_close(struct authority *authority) {
    if (!authority)
        return NULL;
    while (authority->questions) {
        struct question *question = authority->questions;

        take_back(question);
        warn(sd_bus_reply_method_error(
                 question->message, &SD_BUS_ERROR_MAKE_CONST(wipyd_error_bus_name(WIPYD_ERROR_SHUTTING_DOWN),
                                                             "nothing is begun any more")),
             "refusing a call");
        drop(question);
    }
    sd_bus_slot_unref(authority->filter);
    sd_bus_unref(authority->bus);
    free(authority);
    return NULL;
}
