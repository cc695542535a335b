// What the constructs' properties are called in the templates, and what the templates allow them to be.

"use strict";

const { Token } = require("aws-cdk-lib");

/** The template's parameters, by the properties of `Oncekey`. */
const ONCEKEY = {
  stage: "Stage",
  architecture: "Architecture",
  workerTimeout: "WorkerTimeout",
  workerMemory: "WorkerMemory",
  workerConcurrency: "WorkerConcurrency",
  requestsPerSecond: "RequestsPerSecond",
  requestsBurst: "RequestsBurst",
  logRetentionDays: "LogRetentionDays",
  alarmTopicArn: "AlarmTopicArn",
  allowedOrigins: "AllowedOrigins",
  moreRunQueues: "MoreRunQueues",
  taskQueues: "TaskQueues",
  endpointUrl: "EndpointUrl",
};

/** Those of the worker's template, by the properties of `addTasks`, and what `Oncekey` itself brings. */
const TASKS = {
  oncekey: "Oncekey",
  queue: "Queue",
  environments: "Environments",
  architecture: "Architecture",
  endpointUrl: "EndpointUrl",
};

/** A value for each parameter: the property's, or else the default. Throws if the template does not allow it. */
function valuesOf(template, names, properties) {
  const values = {};
  for (const [name, parameter] of Object.entries(names)) {
    const rules = template.Parameters[parameter];
    const value = properties[name] ?? rules.Default;
    if (!Token.isUnresolved(value)) check(name, value, rules);
    values[parameter] = value;
  }
  return values;
}

function check(name, value, { Type, AllowedValues, AllowedPattern, MinValue, MaxValue }) {
  const refuse = (why) => {
    throw new Error(`${name}: ${JSON.stringify(value)} ${why}`);
  };
  if (Type === "Number" && !Number.isInteger(value)) refuse("is not a whole number");
  if (Type === "String" && typeof value !== "string") refuse("is not a text");
  if (AllowedValues && !AllowedValues.includes(value)) refuse(`is none of ${AllowedValues.join(", ")}`);
  if (AllowedPattern && !new RegExp(AllowedPattern).test(value)) refuse(`does not match ${AllowedPattern}`);
  if (MinValue !== undefined && value < MinValue) refuse(`is less than ${MinValue}`);
  if (MaxValue !== undefined && value > MaxValue) refuse(`is more than ${MaxValue}`);
}

module.exports = { ONCEKEY, TASKS, valuesOf };
