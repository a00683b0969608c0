//! What the program finds where it stores data: files of others, or of another program.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use super::started::{RunningProgram, refused};

fn serve(data: &Path) -> [&str; 5] {
    ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Starts the program in `folder`, and returns the folder of its data with the files in it.
fn created(folder: &Path) -> [PathBuf; 4] {
    let data = folder.join("data");
    RunningProgram::start(&serve(&data), folder).terminate();
    [data.clone(), data.join("secrets.json"), data.join("shown.json"), data.join("postern.db")]
}

/// Whoever chose the keys can sign tokens and read every secret that is shown.
#[test]
fn a_folder_or_file_that_others_can_write_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let paths = created(folder.path());
    let data = &paths[0];
    for path in &paths {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        for by_others in [0o002, 0o020] {
            set_mode(path, mode | by_others);
            for command in [&serve(data)[..], &["store", "--data", data.to_str().unwrap()]] {
                let message = refused(command, folder.path(), &[]);
                let sentence = format!(
                    "postern-local: other users can write to {}, and could",
                    path.display()
                );
                assert!(message.starts_with(&sentence), "{message}");
            }
        }
        set_mode(path, mode);
    }
    RunningProgram::start(&serve(data), folder.path()).terminate();
}

/// `.ci/run` runs this test as root.
#[test]
#[ignore = "only root can give a file to another user"]
fn a_folder_or_file_of_another_user_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let paths = created(folder.path());
    let data = &paths[0];
    for path in &paths {
        let owner = fs::metadata(path).unwrap().uid();
        chown(path, Some(12_345), None).unwrap();
        let message = refused(&serve(data), folder.path(), &[]);
        let sentence = format!("postern-local: {} belongs to another user, who", path.display());
        assert!(message.starts_with(&sentence), "{message}");
        chown(path, Some(owner), None).unwrap();
    }
    RunningProgram::start(&serve(data), folder.path()).terminate();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Also in a folder that others can read, and if another program wrote the file.
#[test]
fn an_own_file_with_secrets_is_made_private_at_each_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let elsewhere = folder.path().join("elsewhere.json");
    let variables = [("POSTERN_SECRET_FILE", elsewhere.to_str().unwrap())];
    RunningProgram::start(&serve(&data), folder.path()).terminate();
    set_mode(&data, 0o755);
    fs::copy(data.join("secrets.json"), &elsewhere).unwrap();
    let files = [data.join("secrets.json"), data.join("shown.json"), elsewhere.clone()];
    for path in &files {
        set_mode(path, 0o644);
    }
    let program = RunningProgram::start_with(&serve(&data), folder.path(), &variables);
    assert!(!program.printed.contains("Other users can read"), "{}", program.printed);
    program.terminate();
    for path in &files {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_secret_that_others_could_have_written_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("secret.json");
    let variables = [("POSTERN_SECRET_FILE", file.to_str().unwrap())];
    RunningProgram::start_with(&serve(&data), folder.path(), &variables).terminate();
    for by_others in [0o002, 0o020] {
        set_mode(&file, 0o600 | by_others);
        let message = refused(&serve(&data), folder.path(), &variables);
        let sentence = format!(
            "postern-local: other users can write to {0}, and could have put secrets there: name another file with POSTERN_SECRET_FILE, or run `chmod go-w {0}` if all of its content is your own\n",
            file.display()
        );
        assert_eq!(message, sentence);
    }
    set_mode(&file, 0o600);
    if chown(&file, Some(12_345), None).is_ok() {
        let message = refused(&serve(&data), folder.path(), &variables);
        let sentence = format!(
            "postern-local: {} belongs to another user, who could have put secrets there: name another file with POSTERN_SECRET_FILE\n",
            file.display()
        );
        assert_eq!(message, sentence);
        chown(&file, Some(0), None).unwrap();
    }
    RunningProgram::start_with(&serve(&data), folder.path(), &variables).terminate();
}

#[test]
fn a_file_in_place_of_the_folder_or_of_the_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let message = refused(&serve(&file), folder.path(), &[]);
    let expected =
        format!("postern-local: {} is a file: name a folder with --data\n", file.display());
    assert_eq!(message, expected);

    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let database = data.join("postern.db");
    fs::write(&database, "a text that is not a database").unwrap();
    let message = refused(&serve(&data), folder.path(), &[]);
    let sentence =
        format!("postern-local: {} is not a store of this program: ", database.display());
    assert!(message.starts_with(&sentence), "{message}");
    assert_eq!(fs::read_to_string(&database).unwrap(), "a text that is not a database");
}

#[test]
fn a_file_in_a_folder_that_does_not_exist_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nope");
    let output = std::process::Command::new(super::PROGRAM)
        .args(["secret", "--out", missing.to_str().unwrap()])
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    let sentence = format!("cannot be written: there is no folder {}\n", missing.display());
    assert!(message.ends_with(&sentence), "{message}");
}
