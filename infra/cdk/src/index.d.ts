import type { Duration, Stack } from "aws-cdk-lib";
import type { Function as Lambda } from "aws-cdk-lib/aws-lambda";
import type { ISecret } from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";

/** Each is a parameter of the template of the same name, and checked as that says, but for `stackName` and `functions`. */
export interface OncekeyProps {
  /** What is deployed is named by it, up to 63 letters, digits and hyphens; by default the stack's name, `-` and the construct's id. */
  readonly stackName?: string;
  /** The folder that `sam build` wrote, with the functions' bootstraps; by default `.aws-sam/build`. */
  readonly functions?: string;
  /** `prod` protects the tables from deletion; by default `dev`. */
  readonly stage?: "dev" | "prod";
  /** What the functions were built for, and tasks are; by default `x86_64`. */
  readonly architecture?: "x86_64" | "arm64";
  /** How long an attempt may compute between two waits: 30 seconds, or 1, 5 or 15 minutes; by default 5 minutes. */
  readonly workerTimeout?: Duration;
  /** MB for the stack's own worker, 128 to 10240; by default 512. */
  readonly workerMemory?: number;
  /** Attempts at a time of the stack's own worker, 2 to 1000; by default 50. */
  readonly workerConcurrency?: number;
  /** HTTP requests a second, beyond which callers get 429; by default 500. */
  readonly requestsPerSecond?: number;
  /** HTTP requests at once, likewise; by default 1000. */
  readonly requestsBurst?: number;
  /** By default 14 days. */
  readonly logRetentionDays?: 1 | 3 | 7 | 14 | 30 | 60 | 90 | 180 | 365;
  /** An SNS topic that is told of alarms; by default none. */
  readonly alarmTopicArn?: string;
  /** Whose pages may call with public tokens: origins like `https://app.example.com`, or `["*"]`; by default nobody's. */
  readonly allowedOrigins?: string[];
  /** Queues of workers that are deployed otherwise than by `addTasks`: the URL of each, by its name. */
  readonly moreRunQueues?: Record<string, string>;
  /** The name of the queue of each task that those workers have, by the task. */
  readonly taskQueues?: Record<string, string>;
  /** For an emulator of AWS, its URL; by default AWS itself. */
  readonly endpointUrl?: string;
}

export interface TasksProps {
  /** The queue's name, up to 40 letters, digits, hyphens and underscores; by default `tasks`. Each folder has a queue of its own. */
  readonly queue?: string;
  /** Where the schedules that tasks declare are, like `acme/prod`; by default there are none. */
  readonly environments?: string[];
  /** The host's binary, built for Amazon Linux; by default what `ONCEKEY_HOST` names, or else what `oncekey build` finds. */
  readonly host?: string;
}

/** Oncekey, in a stack of its own: the resources of `infra/template.yaml`. Throws if a property is not allowed, or a function is not built. */
export declare class Oncekey extends Construct {
  constructor(scope: Construct, id: string, props?: OncekeyProps);
  readonly stack: Stack;
  readonly stackName: string;
  readonly architecture: "x86_64" | "arm64";
  readonly endpointUrl?: string;
  /** The HTTP API, for other stacks of the account and region; `TRIGGER_API_URL` for clients. */
  readonly apiUrl: string;
  /** `ONCEKEY_ENVIRONMENTS_TABLE` for `oncekey env`, which makes API keys. */
  readonly environmentsTable: string;
  readonly triggersQueueUrl: string;
  /** An output of the template by its name, for other stacks. */
  exported(name: string): string;
  /**
   * A worker with the tasks of a folder, in a stack of its own that is deployed after this. A folder with a `manifest.json` is what `oncekey build`
   * wrote; any other is built, with the package `oncekey` of its project. Throws if it does not build, or a queue or a task is there already.
   * Until its stack is deployed triggers of its tasks fail, and may be sent again: put the stacks of those who trigger them behind it.
   */
  addTasks(folder: string, props?: TasksProps): Tasks;
  /**
   * Lets a function trigger over HTTP: it may read the secret, and has `TRIGGER_API_URL` and, in `ONCEKEY_API_KEY_SECRET`, the secret's ARN.
   * The secret is yours: put into it the key that `oncekey env create` shows. Reading it, and giving it to the client, is the function's.
   */
  grantTrigger(caller: Lambda, apiKey: ISecret): void;
  /** Lets a function trigger by message, in every environment and without an API key: it has the queue's URL in `ONCEKEY_TRIGGERS_QUEUE`. */
  grantTriggerByMessage(caller: Lambda): void;
}

/** A worker of tasks in TypeScript: the resources of `examples/my-ts-worker/template.yaml`. Made by `Oncekey.addTasks`. */
export declare class Tasks extends Construct {
  private constructor();
  readonly stack: Stack;
  /** The ids of the tasks in the folder. */
  readonly tasks: string[];
  readonly queueName: string;
  readonly queueUrl: string;
}
