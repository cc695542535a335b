// The templates that the constructs deploy: in the repository the very files that `sam` deploys, in the package what `pack.js`
// made of them.

"use strict";

const fs = require("node:fs");
const path = require("node:path");

const SOURCES = {
  oncekey: path.join(__dirname, "../../template.yaml"),
  tasks: path.join(__dirname, "../../../examples/my-ts-worker/template.yaml"),
};
const FUNCTIONS = ["Equals", "FindInMap", "GetAtt", "If", "ImportValue", "Join", "Not", "Select", "Split", "Sub"];

/** `oncekey` or `tasks`, as CloudFormation's JSON. */
function template(name) {
  if (fs.existsSync(SOURCES[name])) return parse(fs.readFileSync(SOURCES[name], "utf8"));
  return JSON.parse(fs.readFileSync(path.join(__dirname, "../dist", `${name}.json`), "utf8"));
}

/** A template's YAML: its short forms, such as `!Ref`, are written out. */
function parse(text) {
  // Only the repository has YAML to read, and so the package needs no parser.
  const yaml = require("yaml");
  const short = (name, written) => [
    { tag: `!${name}`, resolve: (value) => ({ [written]: written === "Fn::GetAtt" ? value.split(/\.(.*)/s, 2) : value }) },
    ...["seq", "map"].map((collection) => ({
      tag: `!${name}`, collection,
      resolve: (node) => {
        const pair = new yaml.Pair(new yaml.Scalar(written), node);
        node.tag = undefined;
        const map = new yaml.YAMLMap();
        map.items.push(pair);
        return map;
      },
    })),
  ];
  const customTags = [...short("Ref", "Ref"), ...FUNCTIONS.flatMap((name) => short(name, `Fn::${name}`))];
  return yaml.parse(text, { customTags });
}

module.exports = { SOURCES, parse, template };
