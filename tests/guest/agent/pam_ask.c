/* A PAM module of the tests: it asks as its arguments say, and writes to /tmp/asked what it got. */
#include <security/pam_modules.h>
#include <stdio.h>
#include <string.h>

static int style_of(const char *word)
{
    static const struct { const char *word; int style; } styles[] = {
        {"off", PAM_PROMPT_ECHO_OFF}, {"on", PAM_PROMPT_ECHO_ON}, {"info", PAM_TEXT_INFO},
        {"error", PAM_ERROR_MSG},     {"radio", PAM_RADIO_TYPE},
    };
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++)
        if (strcmp(word, styles[i].word) == 0)
            return styles[i].style;
    return -1;
}

static int parts(const char *word, struct pam_message *messages)
{
    char copy[64];
    int count = 0;
    (void)snprintf(copy, sizeof copy, "%s", word);
    for (char *part = strtok(copy, "+"); part && count < 4; part = strtok(NULL, "+"))
        messages[count++] = (struct pam_message){style_of(part), "?"};
    if (strcmp(word, "none") == 0)
        return 0;
    return strcmp(word, "many") == 0 ? PAM_MAX_NUM_MSG + 1 : count;
}

int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    const struct pam_conv *conversation;
    FILE *file = fopen("/tmp/asked", "w");
    int verdict = PAM_SUCCESS;
    (void)flags;
    if (!file || pam_get_item(pamh, PAM_CONV, (const void **)&conversation) != PAM_SUCCESS)
        return PAM_SYSTEM_ERR;
    for (int i = 0; i < argc; i++) {
        struct pam_message messages[PAM_MAX_NUM_MSG + 1] = {{0}};
        const struct pam_message *pointers[PAM_MAX_NUM_MSG + 1];
        struct pam_response *answers = NULL;
        int count = parts(argv[i], messages);
        for (int j = 0; j <= PAM_MAX_NUM_MSG; j++)
            pointers[j] = &messages[j];
        int code = conversation->conv(count, pointers, &answers, conversation->appdata_ptr);
        fprintf(file, "%d %s\n", code, code == 0 && answers && answers->resp ? answers->resp : "-");
        if (code != PAM_SUCCESS)
            verdict = PAM_CONV_ERR;
    }
    fclose(file);
    return verdict;
}

int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
    (void)pamh;
    (void)flags;
    (void)argc;
    (void)argv;
    return PAM_SUCCESS;
}
