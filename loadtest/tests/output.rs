//! The files that a run writes: for other programs, for HdrHistogram's plotter and for browsers.

mod support;

use std::fs;

use crate::support::*;

#[test]
fn a_run_writes_every_form_of_its_result() {
    let address = server(|stream| echo(stream, |_| ()));
    let files: Vec<ScratchFile> = (0..4).map(|_| ScratchFile::new()).collect();
    let [json, csv, hgrm, html] = [0, 1, 2, 3].map(|index| files[index].path());
    let target = format!("tcp://{address}");
    let flags = ["--json", json, "--csv", csv, "--hgrm", hgrm, "--html", html];
    let run_flags = ["run", &target, "--no-pin", "--connections", "2", "--count", "500"];
    let ended = run(&run_flags.into_iter().chain(flags).collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let read = |path: &str| fs::read_to_string(path).unwrap();
    assert!(read(csv).starts_with("run,at_s,seconds,messages,messages_per_s,failed,p50_ns,"));
    let distribution = read(hgrm);
    assert!(distribution.contains("Value     Percentile TotalCount 1/(1-Percentile)"), "{distribution}");
    assert!(distribution.contains("Total count    =          500]"), "{distribution}");
    let page = read(html);
    assert!(page.starts_with("<!doctype html>") && page.contains(&target) && page.contains("</html>"), "{page}");
    assert!(read(json).contains("\"version\": 2"));
}

#[test]
fn files_that_cannot_be_made_are_told_before_anything_is_sent() {
    let file = ScratchFile::new();
    let path = file.path();
    for (flags, part) in [
        (&["--html", "/nowhere/at/all.html"][..], "--html: /nowhere/at/all.html: No such file"),
        (&["--csv", "/"], "--csv: /: Is a directory"),
        (&["--json", path, "--hgrm", path], "two results cannot go to one file"),
        (&["--json", path, "--json", "/tmp"], "--json: expected a file for each target, which is 1, found 2"),
    ] {
        // Nobody listens at port 1; nobody is asked.
        let arguments: Vec<&str> = ["run", "tcp://127.0.0.1:1"].into_iter().chain(flags.iter().copied()).collect();
        let ended = run(&arguments);
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{flags:?}: {ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{flags:?}: {ended:?}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_still_summed_up_and_the_other_files_are_written() {
    let address = server(|stream| echo(stream, |_| ()));
    let html = ScratchFile::new();
    let target = format!("tcp://{address}");
    let flags = ["--json", "/dev/full", "--html", html.path()];
    let run_flags = ["run", &target, "--no-pin", "--connections", "1", "--count", "5"];
    let ended = run(&run_flags.into_iter().chain(flags).collect::<Vec<_>>());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.last().is_some_and(|line| line.contains("--json: /dev/full: No space left")), "{ended:?}");
    assert!(ended.output.contains("p99.9"), "{ended:?}");
    assert!(fs::read_to_string(html.path()).unwrap().contains("</html>"));
}
