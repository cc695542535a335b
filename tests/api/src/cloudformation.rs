//! A deployment template, read as CloudFormation reads it, as far as policies need it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, Tag};
use serde_json::{Map, Value};

/// What ARNs say between the service and the resource, here as on the local stack.
const PLACE: &str = "us-east-1:000000000000";

/// A template as JSON; `!Sub x` is `{"Sub": x}`, and `{"Fn::Sub": x}` likewise.
///
/// # Panics
/// When it is no YAML.
#[must_use]
pub fn read(template: &str) -> Value {
    let mut events = Parser::new_from_str(template).map(|event| event.unwrap().0);
    loop {
        if let Event::DocumentStart(_) = events.next().unwrap() {
            let first = events.next().unwrap();
            return value(first, &mut events);
        }
    }
}

fn value<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    let tagged = |tag: Option<Cow<'_, Tag>>, value: Value| match tag {
        Some(tag) => Value::Object(Map::from_iter([(tag.suffix.clone(), value)])),
        None => value,
    };
    match event {
        Event::Scalar(text, _, _, tag) => tagged(tag, text.into()),
        Event::SequenceStart(_, tag) => {
            let mut items = Vec::new();
            loop {
                match events.next().unwrap() {
                    Event::SequenceEnd => return tagged(tag, items.into()),
                    next => items.push(value(next, events)),
                }
            }
        }
        Event::MappingStart(_, tag) => {
            let mut object = Map::new();
            loop {
                match events.next().unwrap() {
                    Event::MappingEnd => return tagged(tag, object.into()),
                    Event::Scalar(name, ..) => {
                        let next = events.next().unwrap();
                        object.insert(name.trim_start_matches("Fn::").to_owned(), value(next, events));
                    }
                    other => panic!("a key is a text: {other:?}"),
                }
            }
        }
        other => panic!("nothing that a template holds: {other:?}"),
    }
}

/// A stack of a template, of which it is known what its resources are called.
pub struct Deployed<'a> {
    /// The template, as [`read`] reads it.
    pub template: &'a Value,
    /// What its parameters are, and `AWS::StackName`.
    pub parameters: BTreeMap<&'static str, String>,
    /// What another stack exports, by name.
    pub imported: BTreeMap<String, String>,
}

impl Deployed<'_> {
    /// What a value of the template comes to: a text.
    ///
    /// # Panics
    /// When it holds what is not known here, so that no permission is taken for another.
    #[must_use]
    pub fn text(&self, value: &Value) -> String {
        let Value::Object(call) = value else { return value.as_str().unwrap().to_owned() };
        let (function, argument) = call.iter().next().unwrap();
        match (function.as_str(), argument) {
            ("Ref", name) => self.name(name.as_str().unwrap()),
            ("GetAtt", Value::String(path)) => match path.split_once('.').unwrap() {
                (resource, "Arn") => self.arn(resource),
                (resource, "QueueName") => self.name(resource),
                other => panic!("unknown attribute: {other:?}"),
            },
            ("Sub", Value::String(text)) => self.filled(text, &Map::new()),
            ("Sub", Value::Array(parts)) => self.filled(parts[0].as_str().unwrap(), parts[1].as_object().unwrap()),
            ("ImportValue", name) => self.imported[&self.text(name)].clone(),
            other => panic!("unknown function: {other:?}"),
        }
    }

    /// What it exports, by name; addresses of the API, which no policy names, left out.
    #[must_use]
    pub fn exports(&self) -> BTreeMap<String, String> {
        let outputs = self.template["Outputs"].as_object().unwrap().values();
        let exported = outputs.filter_map(|output| Some((output.get("Export")?, &output["Value"])));
        let named = exported.filter(|(_, value)| value["GetAtt"] != "HttpApi.ApiEndpoint");
        named.map(|(export, value)| (self.text(&export["Name"]), self.text(value))).collect()
    }

    fn filled(&self, text: &str, own: &Map<String, Value>) -> String {
        let mut parts = text.split("${");
        let mut filled = parts.next().unwrap().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap();
            filled += &match (own.get(name), name.split_once('.')) {
                (Some(value), _) => self.text(value),
                (None, Some((resource, "Arn"))) => self.arn(resource),
                (None, _) => self.name(name),
            };
            filled += rest;
        }
        filled
    }

    /// What `Ref` gives.
    fn name(&self, name: &str) -> String {
        let fixed = [("AWS::Partition", "aws"), ("AWS::Region", "us-east-1"), ("AWS::AccountId", "000000000000")];
        if let Some((_, value)) = fixed.iter().find(|(fixed, _)| *fixed == name) {
            return (*value).to_owned();
        }
        if let Some(value) = self.parameters.get(name) {
            return value.clone();
        }
        let resource = &self.template["Resources"][name];
        match resource["Type"].as_str() {
            Some("AWS::SQS::Queue") => self.text(&resource["Properties"]["QueueName"]),
            // They are named by CloudFormation: here as the local stack names them.
            Some("AWS::DynamoDB::Table") => {
                format!("{}-{}", self.parameters["AWS::StackName"], name.strip_suffix("Table").unwrap().to_lowercase())
            }
            Some("AWS::S3::Bucket") => "oncekey".to_owned(),
            Some("AWS::Scheduler::ScheduleGroup") => self.text(&resource["Properties"]["Name"]),
            Some("AWS::IAM::Role") => {
                format!("{}-{}", self.parameters["AWS::StackName"], name.strip_suffix("Role").unwrap().to_lowercase())
            }
            _ => panic!("{name} is neither a parameter nor a resource that has a name here"),
        }
    }

    fn arn(&self, resource: &str) -> String {
        let name = self.name(resource);
        match self.template["Resources"][resource]["Type"].as_str() {
            Some("AWS::SQS::Queue") => format!("arn:aws:sqs:{PLACE}:{name}"),
            Some("AWS::IAM::Role") => format!("arn:aws:iam::000000000000:role/{name}"),
            Some("AWS::DynamoDB::Table") => format!("arn:aws:dynamodb:{PLACE}:table/{name}"),
            Some("AWS::S3::Bucket") => format!("arn:aws:s3:::{name}"),
            other => panic!("{resource} has no ARN here: {other:?}"),
        }
    }
}
