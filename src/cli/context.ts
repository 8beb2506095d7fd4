/** What commands get from outside, how they end, and how they fail. */
import type { CliEnvironment } from '../config/cli-env.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { DesiredService } from '../model/kernel.ts';
import type { Result } from '../lib/result.ts';
import type { RealServerAnswer, RealServerRequest } from '../model/real-server-host.ts';

/** Design 10. */
export const EXIT = {
  ok: 0,
  degraded: 1,
  badInput: 2,
  precondition: 3,
  inProgress: 4,
  unreachable: 5,
  denied: 6,
  down: 7,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export type CliIo = {
  readonly stdout: (text: string) => void;
  /** Resolves when standard output takes more: whoever writes without end waits for it now and then. */
  readonly written: () => Promise<void>;
  readonly stderr: (text: string) => void;
  readonly readStdin: () => Promise<string>;
  /** Shows a question and gives the line that was typed; null where nobody can be asked. */
  readonly ask: ((question: string) => Promise<string>) | null;
  /** Standard output is a terminal. */
  readonly isTerminal: boolean;
  /** Width of the terminal; null where there is none. */
  readonly columns: number | null;
  readonly environment: CliEnvironment;
  readonly version: string;
  readonly clock: {
    /** Monotonic milliseconds. */
    now(): number;
    sleep(ms: number, signal?: AbortSignal): Promise<void>;
  };
  /** Ends `status -w` and `events -f`. */
  readonly signal: AbortSignal;
};

export type CliDeps = {
  /** Runs the agent until it ends; answers the exit code. */
  readonly runAgent: (options: {
    readonly config: string;
    readonly dev: boolean;
  }) => Promise<number>;
  /**
   * Removes the kernel rules that silence VIPs on this machine, and tells what stays; `config`: agent.yaml, where
   * it is known. Answers the exit code.
   */
  readonly uninstallGate: (config: string | null) => Promise<number>;
  /** Prepares this machine as a real server; the error is a sentence. */
  readonly realServer: (request: RealServerRequest) => Promise<Result<RealServerAnswer, string>>;
  /** The IPVS table of a document as if every real server were up. */
  readonly deriveTable: (spec: ClusterSpec) => readonly DesiredService[];
  readonly io: CliIo;
};

/** Ends a command: the message is for people and names the remedy. Thrown by commands, caught by `run`. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}
