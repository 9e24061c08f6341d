//! `waypost man` and `waypost completions`: the manual pages and what a shell needs to complete a command line. Both are
//! made from the same definition that reads the command line, so that they name what there is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Done, Failure, exit, print};

/// The section of the manual: commands of an administrator.
const SECTION: &str = "8";
/// What the page of waypost itself ends with; the pages of commands refer to it.
const REST: &str = include_str!("manual.roff");

#[derive(Args)]
pub(super) struct ManArgs {
    /// Write the page of each command into this folder; default: print the one of waypost itself
    dir: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Prints the page of waypost, or writes all pages.
pub(super) fn man(args: &ManArgs) -> Done {
    let command = command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        render(&command, &mut page)?;
        return print(&String::from_utf8_lossy(&page));
    };
    write(&command, dir).map_err(|error| {
        Failure::new(exit::IO, format!("{}: {error}; name a folder that can be written to", dir.display()))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what the shell reads.
pub(super) fn completions(args: &CompletionsArgs) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "waypost", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// The command line with the full name of each command.
fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// The name of a command's page: `waypost-letters-retry`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn write(command: &Command, dir: &Path) -> io::Result<()> {
    let mut page = Vec::new();
    render(command, &mut page)?;
    fs::write(dir.join(format!("{}.{SECTION}", name(command))), page)?;
    command.get_subcommands().try_for_each(|below| write(below, dir))
}

fn render(command: &Command, page: &mut dyn Write) -> io::Result<()> {
    // No date: equal sources give equal pages.
    let man = Man::new(command.clone())
        .title(name(command).to_uppercase())
        .section(SECTION)
        .source(concat!("waypost ", env!("CARGO_PKG_VERSION")))
        .manual("waypost");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    if name(command) == "waypost" {
        return page.write_all(REST.as_bytes());
    }
    page.write_all(b".SH \"SEE ALSO\"\n\\fBwaypost\\fR(8): files, exit codes\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command with those below it, by its words.
    fn all(command: &Command, found: &mut Vec<Command>) {
        found.push(command.clone());
        command.get_subcommands().for_each(|below| all(below, found));
    }

    #[test]
    fn every_command_has_a_manual_page_that_names_its_options() {
        let dir = tempfile::tempdir().unwrap();
        man(&ManArgs { dir: Some(dir.path().to_owned()) }).unwrap();
        let mut commands = Vec::new();
        all(&command(), &mut commands);
        assert!(commands.len() > 40, "{}", commands.len());
        for command in &commands {
            let page = fs::read_to_string(dir.path().join(format!("{}.8", name(command)))).unwrap();
            assert!(page.contains(".SH NAME"), "{}", name(command));
            for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
                let Some(long) = option.get_long() else { continue };
                assert!(page.replace('\\', "").contains(&format!("--{long}")), "{} --{long}", name(command));
            }
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), commands.len());
    }

    #[test]
    fn the_page_of_waypost_says_where_its_files_are_and_what_its_exit_codes_mean() {
        let mut page = Vec::new();
        render(&command(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for word in ["/etc/waypost/conf.d", "/var/lib/waypost", "EXIT STATUS", "sysexits"] {
            assert!(page.contains(word), "{word}");
        }
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "waypost", &mut script);
            let script = String::from_utf8(script).unwrap();
            let mut commands = Vec::new();
            all(&Cli::command(), &mut commands);
            for command in &commands {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
