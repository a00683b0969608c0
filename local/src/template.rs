//! `template.yaml`, as far as a gateway and a store need it.

use serde_json::{Map, Value};

use crate::Error;

/// The template of this source tree.
pub const TEMPLATE: &str = include_str!("../../template.yaml");

/// The functions and tables of the template.
#[derive(Clone, Debug)]
pub struct Template {
    /// The functions, in the order of the template.
    pub functions: Vec<Function>,
    /// The tables.
    pub tables: Vec<Table>,
}

/// A function of the template.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its logical id in the template.
    pub logical_id: String,
    /// Its binary in the package `functions`.
    pub binary: String,
    /// Its routes.
    pub routes: Vec<Route>,
    /// All its properties.
    pub properties: Value,
}

/// A route of the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Method and path, or `None` for `$default`, which matches what no other route does.
    pub target: Option<(String, String)>,
}

impl Route {
    /// Returns the route key: `GET /v1/keys/{id}`, or `$default`.
    pub fn key(&self) -> String {
        self.target.as_ref().map_or("$default".into(), |(method, path)| format!("{method} {path}"))
    }
}

/// A table of the template.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its logical id in the template.
    pub logical_id: String,
    /// The whole resource.
    pub resource: Value,
}

impl Template {
    /// Reads the template of this source tree.
    ///
    /// # Errors
    /// [`Error::Template`] if this program does not understand the template.
    pub fn load() -> Result<Self, Error> {
        Self::parse(TEMPLATE)
    }

    /// Reads a template.
    ///
    /// # Errors
    /// [`Error::Template`] if this program does not understand the template.
    pub fn parse(yaml: &str) -> Result<Self, Error> {
        let document = parse_yaml(yaml)?;
        let resources = document
            .get("Resources")
            .and_then(Value::as_object)
            .ok_or_else(|| wrong("no Resources"))?;
        let of_type = |kind: &'static str| {
            resources.iter().filter(move |(_, resource)| resource["Type"] == kind)
        };
        Ok(Self {
            functions: of_type("AWS::Serverless::Function")
                .map(|(id, resource)| function(id, resource))
                .collect::<Result<_, _>>()?,
            tables: of_type("AWS::DynamoDB::Table")
                .map(|(id, resource)| Table { logical_id: id.clone(), resource: resource.clone() })
                .collect(),
        })
    }
}

fn wrong(what: &str) -> Error {
    Error::Template(what.into())
}

fn function(logical_id: &str, resource: &Value) -> Result<Function, Error> {
    let binary = resource.pointer("/Metadata/BuildProperties/Binary").and_then(Value::as_str);
    let properties = resource.get("Properties").cloned().unwrap_or_default();
    let events = properties.get("Events").and_then(Value::as_object).cloned().unwrap_or_default();
    Ok(Function {
        logical_id: logical_id.to_owned(),
        binary: binary.ok_or_else(|| wrong(&format!("{logical_id} has no Binary")))?.to_owned(),
        routes: events.values().filter(|event| event["Type"] == "HttpApi").map(route).collect(),
        properties,
    })
}

fn route(event: &Value) -> Route {
    let text =
        |name: &str| event["Properties"].get(name).and_then(Value::as_str).map(str::to_owned);
    Route { target: text("Method").zip(text("Path")) }
}

/// Parses a template into JSON. CloudFormation's short forms (`!Ref Keys`) become objects with one
/// member (`{"!Ref": "Keys"}`).
///
/// # Errors
/// [`Error::Template`] if the text is not YAML.
pub fn parse_yaml(yaml: &str) -> Result<Value, Error> {
    as_json(serde_norway::from_str(yaml).map_err(|error| Error::Template(error.to_string()))?)
}

fn as_json(yaml: serde_norway::Value) -> Result<Value, Error> {
    use serde_norway::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => flag.into(),
        Yaml::Number(number) => {
            serde_json::to_value(number).map_err(|error| Error::Template(error.to_string()))?
        }
        Yaml::String(text) => text.into(),
        Yaml::Sequence(items) => {
            items.into_iter().map(as_json).collect::<Result<Vec<_>, _>>()?.into()
        }
        Yaml::Mapping(members) => {
            let mut object = Map::new();
            for (name, value) in members {
                let Yaml::String(name) = name else {
                    return Err(wrong("a member whose name is not text"));
                };
                object.insert(name, as_json(value)?);
            }
            object.into()
        }
        Yaml::Tagged(tagged) => {
            Map::from_iter([(tagged.tag.to_string(), as_json(tagged.value)?)]).into()
        }
    })
}
