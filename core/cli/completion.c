/* cli/completion.c: weir completion: shell completion, made from the tables of the commands. */
#include <string.h>

#include "cli/commands.h"
#include "cli/plugin_command.h"

/* The runner's commands, and those of its plugins. */
static const struct cli_command **all_commands(struct arena *texts)
{
    const struct cli_command *const *own = cli_commands;
    const struct cli_command *const *more = plugin_command_tables(texts);
    const struct cli_command **all = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; own[i]; i++)
        MEM_PUSH(all, n, cap) = own[i];
    for (size_t i = 0; more[i]; i++)
        MEM_PUSH(all, n, cap) = more[i];
    MEM_PUSH(all, n, cap) = NULL;
    return all;
}

static void print_actions(const struct cli_command *c)
{
    for (const char *const *a = c->actions; a && *a; a++)
        (void)printf(a == c->actions ? "%s" : " %s", *a);
}

static void print_words(const struct cli_command *c)
{
    for (const struct cli_option *o = c->options; o && o->name; o++)
        (void)printf(" --%s", o->name);
    (void)printf(" --help --no-color");
}

static void print_bash(const struct cli_command *const *all)
{
    (void)printf("_weir() {\n"
                 "  local cur=${COMP_WORDS[COMP_CWORD]} words actions= word\n"
                 "  if [ \"$COMP_CWORD\" -eq 1 ]; then words='");
    for (const struct cli_command *const *c = all; *c; c++)
        (void)printf("%s ", (*c)->name);
    (void)printf("'\n  else case ${COMP_WORDS[1]} in\n");
    for (const struct cli_command *const *c = all; *c; c++) {
        (void)printf("    %s) words='", (*c)->name);
        print_words(*c);
        (void)printf("'; actions='");
        print_actions(*c);
        (void)printf("' ;;\n");
    }
    (void)printf("    esac\n"
                 "    for word in \"${COMP_WORDS[@]:2:COMP_CWORD-2}\"; do\n"
                 "      case \" $actions \" in *\" $word \"*) actions= ;; esac\n"
                 "    done\n"
                 "    words=\"$actions $words\"\n"
                 "  fi\n"
                 "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                 "  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                 "}\ncomplete -F _weir weir\n");
}

static void print_zsh(const struct cli_command *const *all)
{
    (void)printf("#compdef weir\n_weir() {\n  local -a commands\n  commands=(\n");
    for (const struct cli_command *const *c = all; *c; c++)
        (void)printf("    '%s:%s'\n", (*c)->name, (*c)->summary);
    (void)printf("  )\n  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
                 "  case $words[2] in\n");
    for (const struct cli_command *const *c = all; *c; c++) {
        (void)printf("    %s) ", (*c)->name);
        if ((*c)->actions) {
            (void)printf("(( CURRENT == 3 )) && _values action ");
            print_actions(*c);
            (void)printf("; ");
        }
        (void)printf("_values -w option");
        print_words(*c);
        (void)printf(" ; _files ;;\n");
    }
    (void)printf("  esac\n}\n_weir \"$@\"\n");
}

static void print_fish_actions(const struct cli_command *c)
{
    if (!c->actions)
        return;
    (void)printf("complete -c weir -n '__fish_seen_subcommand_from %s; and not "
                 "__fish_seen_subcommand_from ",
                 c->name);
    print_actions(c);
    (void)printf("' -a '");
    print_actions(c);
    (void)printf("'\n");
}

static void print_fish(const struct cli_command *const *all)
{
    for (const struct cli_command *const *c = all; *c; c++) {
        (void)printf("complete -c weir -n __fish_use_subcommand -a %s -d '%s'\n", (*c)->name,
                     (*c)->summary);
        print_fish_actions(*c);
        for (const struct cli_option *o = (*c)->options; o && o->name; o++)
            (void)printf("complete -c weir -n '__fish_seen_subcommand_from %s' -l %s -d '%s'\n",
                         (*c)->name, o->name, strchr(o->help, '\'') ? o->name : o->help);
    }
}

static const char *const shells[] = {"bash", "zsh", "fish", NULL};

static int run(void *options, int argc, char **argv)
{
    struct arena texts;
    int code = EXIT_OK;
    arena_init(&texts);
    const struct cli_command **all = all_commands(&texts);
    if (strcmp(argv[0], "bash") == 0)
        print_bash(all);
    else if (strcmp(argv[0], "zsh") == 0)
        print_zsh(all);
    else if (strcmp(argv[0], "fish") == 0)
        print_fish(all);
    else
        code = cli_usage_error(&command_completion, "unknown shell %s: bash, zsh or fish", argv[0]);
    mem_free(all);
    arena_fini(&texts);
    return code;
}

const struct cli_command command_completion = {
    .name = "completion",
    .usage = "bash | zsh | fish",
    .summary = "Print completion for a shell",
    .details = "example:\n  weir completion bash > /etc/bash_completion.d/weir",
    .arguments_min = 1,
    .arguments_max = 1,
    .actions = shells,
    .run = run,
};
