//! The backports of the release that is installed: the suite that is beside its own, at the same
//! package source. The sources of the system stay as they are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use super::apt_get;
use crate::Failure;

/// Installs a package from there. `etc` is the directory of the system's configuration.
///
/// # Errors
///
/// [`Failure`] when the sources cannot be read, none has the release, or `apt-get` fails.
pub(super) fn install(etc: &Path, package: &str) -> Result<(), Failure> {
    let release = fs::read_to_string(etc.join("os-release"))?;
    let codename = codename(&release).ok_or("the system has no codename")?;
    let sources = sources(&etc.join("apt"))?;
    let suite = format!("{codename}-backports");
    let entry = sources.iter().find_map(|(path, text)| {
        let is_list = path.extension().is_some_and(|extension| extension == "list");
        let entry = if is_list { in_a_line(text, codename) } else { in_a_stanza(text, codename) };
        Some((if is_list { "list" } else { "sources" }, entry?))
    });
    let (kind, entry) = entry.ok_or_else(|| format!("no package source has {codename}"))?;

    // A directory of its own, with the system's sources and one more.
    let directory = env::temp_dir().join(format!("xtask-apt-{}", process::id()));
    let (parts, lists) = (directory.join("parts"), directory.join("lists"));
    fs::create_dir_all(&parts)?;
    fs::create_dir_all(lists.join("partial"))?;
    for (n, (path, text)) in sources.iter().enumerate() {
        let extension = path.extension().unwrap_or_default();
        fs::write(parts.join(format!("{n}")).with_extension(extension), text)?;
    }
    fs::write(parts.join("backports").with_extension(kind), entry)?;
    let option = |name: &str, value: &Path| {
        let mut option = OsString::from(format!("-o{name}="));
        option.push(value);
        option
    };
    let options = [
        option("Dir::Etc::sourcelist", Path::new("/dev/null")),
        option("Dir::Etc::sourceparts", &parts),
        option("Dir::State::lists", &lists),
    ];
    let with = |arguments: &[&str]| {
        let arguments = arguments.iter().map(OsString::from);
        apt_get(&options.iter().cloned().chain(arguments).collect::<Vec<_>>())
    };
    let is_done = with(&["update"]) && with(&["install", "--target-release", &suite, package]);
    // What remains there does no harm.
    let _ = fs::remove_dir_all(directory);
    if is_done { Ok(()) } else { Err(format!("apt-get fails with {suite} as well").into()) }
}

/// The files that name package sources, and their texts.
fn sources(apt: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut paths = vec![apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(apt.join("sources.list.d")) {
        for entry in entries {
            paths.push(entry?.path());
        }
    }
    paths.retain(|path| {
        let extension = path.extension();
        path.is_file() && extension.is_some_and(|is| is == "list" || is == "sources")
    });
    paths.sort();
    let read = |path: PathBuf| Ok((path.clone(), fs::read_to_string(path)?));
    paths.into_iter().map(read).collect()
}

/// The codename in the text of `os-release`.
fn codename(release: &str) -> Option<&str> {
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"')).filter(|name| !name.is_empty())
}

/// The entry of the backports, made of one for the release in the format of a line.
fn in_a_line(text: &str, codename: &str) -> Option<String> {
    let is_it = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some("deb") && words.any(|word| word == codename)
    };
    let line = text.lines().find(is_it)?;
    let words = line.split_whitespace().map(|word| {
        if word == codename { format!("{codename}-backports") } else { word.to_owned() }
    });
    Some(words.collect::<Vec<_>>().join(" ") + "\n")
}

/// The entry of the backports, made of one for the release in the format of a stanza.
fn in_a_stanza(text: &str, codename: &str) -> Option<String> {
    let text = text.replace("\r\n", "\n");
    let stanza = text.split("\n\n").find(|stanza| {
        let has = |field, word| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(field));
            line.is_some_and(|line| line.split_whitespace().any(|found| found == word))
        };
        has("Types:", "deb") && has("Suites:", codename)
    })?;
    let lines = stanza.lines().map(|line| match line.split_once(':') {
        Some(("Types", _)) => "Types: deb".to_owned(),
        Some(("Suites", _)) => format!("Suites: {codename}-backports"),
        _ => line.to_owned(),
    });
    Some(lines.collect::<Vec<_>>().join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codename_is_that_of_the_release() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=trixie\n"), Some("trixie"));
        assert_eq!(codename("VERSION_CODENAME=\"sid\""), Some("sid"));
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=\n"), None);
        assert_eq!(codename(""), None);
    }

    #[test]
    fn a_line_gets_another_suite() {
        let text = "# deb a/ bookworm main\n\
                    deb-src [trusted=yes] a/ bookworm main\n\
                    deb b/ bookworm-updates main\n\
                    deb [signed-by=/key] c/ bookworm main contrib\n";
        let expected = "deb [signed-by=/key] c/ bookworm-backports main contrib\n";
        assert_eq!(in_a_line(text, "bookworm").as_deref(), Some(expected));
        assert_eq!(in_a_line(text, "trixie"), None);
    }

    #[test]
    fn a_stanza_gets_another_suite() {
        let text = "Types: deb\nURIs: a/\nSuites: bookworm-security\nComponents: main\n\n\
                    Types: deb-src\nURIs: b/\nSuites: bookworm\n\n\
                    Types: deb deb-src\n# from an image\nURIs: c/\n\
                    Suites: bookworm bookworm-updates\nComponents: main\nSigned-By:\n key\n\n\
                    Types: deb\nSuites: other\n";
        let expected = "Types: deb\n# from an image\nURIs: c/\nSuites: bookworm-backports\n\
                        Components: main\nSigned-By:\n key\n";
        assert_eq!(in_a_stanza(text, "bookworm").as_deref(), Some(expected));
        assert_eq!(in_a_stanza(text, "trixie"), None);
    }

    #[test]
    fn without_a_source_of_the_release_nothing_is_installed() {
        let etc = env::temp_dir().join(format!("xtask-etc-{}", process::id()));
        fs::create_dir_all(etc.join("apt/sources.list.d")).unwrap();
        assert!(install(&etc, "a-package").is_err());
        fs::write(etc.join("os-release"), "VERSION_CODENAME=bookworm\n").unwrap();
        let other = etc.join("apt/sources.list.d/other.list");
        fs::write(other, "deb a/ stable main\n").unwrap();
        fs::write(etc.join("apt/sources.list.d/ignored.bak"), "deb a/ bookworm main\n").unwrap();
        let failure = install(&etc, "a-package").unwrap_err().to_string();
        fs::remove_dir_all(etc).unwrap();
        assert_eq!(failure, "no package source has bookworm");
    }
}
