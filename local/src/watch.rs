//! The configuration of `cargo lambda watch`: the routes of the template, as its router reads them.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::template::Template;

/// Returns a `CargoLambda.toml` with a route for each of the template's.
pub fn config(template: &Template) -> String {
    let mut routes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for function in &template.functions {
        for (method, path) in function.routes.iter().filter_map(|route| route.target.as_ref()) {
            let route = format!("{{ function = {:?}, method = {method:?} }}", function.binary);
            routes.entry(path).or_default().push(route);
        }
    }
    let mut config = "[watch.router]\n".to_owned();
    for (path, routes) in routes {
        let _ = writeln!(config, "{path:?} = [{}]", routes.join(", "));
    }
    config
}
