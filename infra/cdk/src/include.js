// A SAM template as the content of a stack. CDK's own `CfnInclude` reads neither `Globals` nor SAM's `!Ref Function.Version`.

"use strict";

const { CfnCondition, CfnMapping, CfnOutput, CfnResource, Token, Validations } = require("aws-cdk-lib");

/**
 * Puts the template into the stack, under its own logical ids. `values` are the parameters': they are written where the
 * template refers to them and not left for CloudFormation, since `cdk deploy` goes on sending a parameter's previous value when
 * its default has changed. `codeOf` says where a function's code is.
 */
function include(stack, template, { values, codeOf }) {
  const { Globals, Mappings = {}, Conditions = {}, Resources, Outputs = {} } = substitute(template, values);
  stack.addTransform(template.Transform);
  stack.templateOptions.description = template.Description;
  for (const [id, mapping] of Object.entries(Mappings)) new CfnMapping(stack, id, { mapping }).overrideLogicalId(id);
  for (const [id, expression] of Object.entries(Conditions)) {
    new CfnCondition(stack, id, { expression: Token.asAny(expression) }).overrideLogicalId(id);
  }
  for (const [id, { Type, Properties, ...rest }] of Object.entries(Resources)) {
    const isFunction = Type === "AWS::Serverless::Function";
    // Who builds it is told to `sam build` alone.
    if (isFunction) delete rest.Metadata;
    const properties = isFunction ? { ...merge(Globals?.Function, Properties), CodeUri: codeOf(id) } : Properties;
    const resource = new CfnResource(stack, id, { type: Type, properties });
    resource.overrideLogicalId(id);
    for (const [key, value] of Object.entries(rest)) resource.addOverride(key, value);
  }
  for (const [id, { Description, Value, Export }] of Object.entries(Outputs)) {
    const exportName = Export && Token.asString(Export.Name);
    new CfnOutput(stack, `Output${id}`, { description: Description, value: Token.asString(Value), exportName }).overrideLogicalId(id);
  }
  Validations.of(stack).acknowledge(
    { id: "CloudFormation-Validate::W1030", reason: "the topic of alarms is empty where a condition leaves it out" },
    { id: "CloudFormation-Validate::F1020", reason: "SAM makes a function's alias and version, which are referred to" },
  );
}

/** What a property is over what `Globals` has for it, as SAM merges them. */
function merge(base, over) {
  if (over === undefined) return base;
  if (Array.isArray(base) && Array.isArray(over)) return [...base, ...over];
  if (!isPlain(base) || !isPlain(over)) return over;
  return Object.fromEntries([...new Set([...Object.keys(base), ...Object.keys(over)])].map((key) => [key, merge(base[key], over[key])]));
}

function substitute(node, values) {
  if (Array.isArray(node)) return node.map((item) => substitute(item, values));
  if (!isPlain(node)) return node;
  if (Object.hasOwn(values, node.Ref)) return values[node.Ref];
  if (typeof node["Fn::Sub"] === "string") return { "Fn::Sub": filled(node["Fn::Sub"], values) };
  if (Array.isArray(node["Fn::Sub"])) {
    const [text, names] = node["Fn::Sub"];
    return { "Fn::Sub": [filled(text, values), substitute(names, values)] };
  }
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, substitute(value, values)]));
}

function filled(text, values) {
  return text.replace(/\$\{(\w+)\}/g, (whole, name) => (Object.hasOwn(values, name) ? values[name] : whole));
}

function isPlain(value) {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

module.exports = { include, merge };
