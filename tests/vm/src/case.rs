// SPDX-License-Identifier: BSD-2-Clause
//! Test cases: shell scripts that say in their first comment lines what they need.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::directory::files;

/// One case to run: a script, and the values of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    /// The script's name and the values of its parameters, joined by `-`.
    pub(crate) name: String,
    /// The script's file name without `.sh`.
    pub(crate) script: String,
    pub(crate) about: String,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) needs_stock: bool,
    pub(crate) needs_programs: bool,
    /// Machine two must run another release than machine one.
    pub(crate) needs_peer: bool,
    pub(crate) machines: usize,
    pub(crate) wires: usize,
    pub(crate) hz: Option<u32>,
    pub(crate) limit: Option<Duration>,
}

/// A parameter and its values: `# param: version 1301 1400`.
#[derive(Debug, Clone)]
struct Parameter {
    name: String,
    values: Vec<String>,
}

impl Case {
    fn named(script: &str) -> Self {
        Case {
            name: script.to_owned(),
            script: script.to_owned(),
            about: String::new(),
            settings: Vec::new(),
            needs_stock: false,
            needs_programs: false,
            needs_peer: false,
            machines: 1,
            wires: 1,
            hz: None,
            limit: None,
        }
    }

    /// The case with one more parameter set. The parameter `hz` also sets the kernel's kern.hz.
    fn with(&self, parameter: &str, value: &str) -> Result<Self> {
        let mut case = self.clone();
        case.name = format!("{}-{value}", self.name);
        case.settings.push((parameter.to_owned(), value.to_owned()));
        if parameter == "hz" {
            case.hz = Some(value.parse()?);
        }
        Ok(case)
    }

    /// Whether `wanted` names this case or its script.
    pub(crate) fn answers_to(&self, wanted: &str) -> bool {
        self.name == wanted || self.script == wanted
    }
}

/// Reads all cases of a directory, in the order of their names.
pub(crate) fn read_all(directory: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for file in files(directory, "sh").context("the directory of cases")? {
        let text = std::fs::read_to_string(&file)?;
        let script = file.file_stem().unwrap_or_default().to_string_lossy();
        cases.extend(parse(&script, &text).with_context(|| format!("{}", file.display()))?);
    }
    Ok(cases)
}

/// The cases of one script: one for each combination of the values of its parameters.
fn parse(script: &str, text: &str) -> Result<Vec<Case>> {
    let mut case = Case::named(script);
    let mut parameters = Vec::new();
    for line in header(text) {
        let Some((key, value)) = line.split_once(": ") else { continue };
        read_key(&mut case, &mut parameters, key, value.trim())
            .with_context(|| format!("header line `{key}`"))?;
    }
    if case.about.is_empty() {
        bail!("the header has no `# about:` line");
    }
    combinations(case, &parameters)
}

/// The comment lines at the top of a script that have the form `# key: value`.
fn header(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.split(": ").next().is_some_and(|key| !key.contains(' ')))
}

fn read_key(case: &mut Case, parameters: &mut Vec<Parameter>, key: &str, value: &str) -> Result<()> {
    match key {
        "SPDX-License-Identifier" => {}
        "about" => case.about = value.to_owned(),
        "needs" => read_needs(case, value)?,
        "machines" => case.machines = value.parse()?,
        "wires" => case.wires = value.parse()?,
        "hz" => case.hz = Some(value.parse()?),
        "timeout" => case.limit = Some(Duration::from_secs(value.parse()?)),
        "param" => parameters.push(read_parameter(value)?),
        _ => bail!("is not known"),
    }
    Ok(())
}

fn read_needs(case: &mut Case, value: &str) -> Result<()> {
    for word in value.split_whitespace() {
        match word {
            "stock" => case.needs_stock = true,
            "programs" => case.needs_programs = true,
            "peer" => case.needs_peer = true,
            _ => bail!("`{word}` is not known"),
        }
    }
    Ok(())
}

fn read_parameter(value: &str) -> Result<Parameter> {
    let mut words = value.split_whitespace().map(str::to_owned);
    let name = words.next().context("a parameter needs a name")?;
    let values: Vec<_> = words.collect();
    if values.is_empty() {
        bail!("parameter {name} has no values");
    }
    Ok(Parameter { name, values })
}

fn combinations(case: Case, parameters: &[Parameter]) -> Result<Vec<Case>> {
    let mut cases = vec![case];
    for parameter in parameters {
        let values = &parameter.values;
        let each = |case: &Case| values.iter().map(|v| case.with(&parameter.name, v)).collect();
        let multiplied: Vec<Vec<Case>> = cases.iter().map(each).collect::<Result<_>>()?;
        cases = multiplied.concat();
    }
    Ok(cases)
}

/// The cases that `wanted` names, or all; those that can share guests follow each other.
pub(crate) fn select(mut cases: Vec<Case>, wanted: &[String]) -> Result<Vec<Case>> {
    for name in wanted {
        if !cases.iter().any(|case| case.answers_to(name)) {
            bail!("there is no case {name}; --list shows them");
        }
    }
    if !wanted.is_empty() {
        cases.retain(|case| wanted.iter().any(|name| case.answers_to(name)));
    }
    cases.sort_by_key(|case| (case.machines, case.wires, case.hz));
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_read() {
        let text =
            "#!/bin/sh\n# about: a b: c\n# needs: stock programs peer\n# machines: 2\n# hz: 1000\n\n# wires: 3\n";
        let cases = parse("x", text).unwrap();
        assert_eq!(cases.len(), 1);
        let case = &cases[0];
        assert_eq!(case.about, "a b: c");
        assert!(case.needs_stock && case.needs_programs && case.needs_peer);
        assert_eq!((case.machines, case.wires, case.hz), (2, 1, Some(1000)));
    }

    #[test]
    fn parameters_multiply() {
        let text = "# about: x\n# param: version 1301 1400\n# param: to mcast ucast\n";
        let cases = parse("m", text).unwrap();
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["m-1301-mcast", "m-1301-ucast", "m-1400-mcast", "m-1400-ucast"]);
        assert_eq!(cases[1].settings[1], ("to".into(), "ucast".into()));
        assert!(cases[3].answers_to("m") && !cases[3].answers_to("m-1400"));
    }

    #[test]
    fn a_parameter_may_set_hz() {
        let cases = parse("m", "# about: x\n# param: hz 100 1000\n").unwrap();
        assert_eq!(cases[1].hz, Some(1000));
        assert!(parse("m", "# about: x\n# param: hz fast\n").is_err());
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(parse("x", "# about: x\n# nedds: stock\n").is_err());
        assert!(parse("x", "# about: x\n# needs: stok\n").is_err());
        assert!(parse("x", "# hz: 1000\n").is_err());
    }

    #[test]
    fn own_cases_can_be_read() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let cases = read_all(&dir).unwrap();
        let unknown = select(cases, &["no-such-case".into()]);
        assert!(unknown.is_err());
    }
}
