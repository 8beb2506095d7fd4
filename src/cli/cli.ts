/** The command line: one program, each command a client of the API, but for `agent` and `validate`. */
import { Command, CommanderError } from 'commander';
import { addConfigCommands } from './commands/config.ts';
import { addDirectorCommands } from './commands/directors.ts';
import { addEventsCommand } from './commands/events.ts';
import { addExplainCommand } from './commands/explain.ts';
import { addIpvsCommands } from './commands/ipvs.ts';
import { addIpvsadmCommands } from './commands/ipvsadm.ts';
import { addRealServerCommands } from './commands/real-servers.ts';
import { addRealServerHostCommands } from './commands/realserver.ts';
import { addRebalanceCommand } from './commands/rebalance.ts';
import { addStatusCommand } from './commands/status.ts';
import { addSwitchoverCommand } from './commands/switchover.ts';
import { type CliDeps, CliError, EXIT } from './context.ts';
import { addGlobalOptions } from './session.ts';

export type Cli = {
  /** `argv` without the program: `['status', '-o', 'json']`. Answers the exit code (design 10); never throws for bad input. */
  run(argv: readonly string[]): Promise<number>;
};

export function createCli(deps: CliDeps): Cli {
  return { run: (argv) => run(deps, argv) };
}

async function run(deps: CliDeps, argv: readonly string[]): Promise<number> {
  const { io } = deps;
  let exitCode: number = EXIT.ok;
  const done = (code: number): void => {
    exitCode = code;
  };
  const program = createProgram(deps, done);
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.badInput;
    if (!(error instanceof CliError)) throw error;
    io.stderr(`${error.message}\n`);
    return error.exitCode;
  }
}

function createProgram(deps: CliDeps, done: (code: number) => void): Command {
  const { io } = deps;
  const program = new Command('leasehold')
    .description('high availability for Linux Virtual Server directors')
    .exitOverride()
    .configureOutput({ writeOut: io.stdout, writeErr: io.stderr })
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(leasehold --help, or leasehold COMMAND --help)');
  addGlobalOptions(program);
  addAgentCommand(program, deps, done);
  addConfigCommands(program, io, done);
  addStatusCommand(program, io, done);
  addExplainCommand(program, io, done);
  addSwitchoverCommand(program, io, done);
  addRebalanceCommand(program, io, done);
  addDirectorCommands(program, io, done);
  addRealServerCommands(program, io, done);
  addRealServerHostCommands(program, deps, done);
  addIpvsCommands(program, io, done);
  addIpvsadmCommands(program, deps, done);
  addEventsCommand(program, io, done);
  program
    .command('version')
    .description('print the version')
    .action(() => io.stdout(`leasehold ${io.version}\n`));
  for (const command of program.commands)
    if (WITHOUT_API.has(command.name())) hideGlobalOptions(command);
  return program.version(`leasehold ${io.version}`);
}

/** Commands that ask no director. */
const WITHOUT_API: ReadonlySet<string> = new Set([
  'agent',
  'validate',
  'realserver',
  'import',
  'version',
]);

function hideGlobalOptions(command: Command): void {
  command.configureHelp({ showGlobalOptions: false });
  for (const child of command.commands) hideGlobalOptions(child);
}

function addAgentCommand(
  program: Command,
  { runAgent, uninstallGate }: CliDeps,
  done: (code: number) => void,
): void {
  type Options = {
    readonly config?: string;
    readonly dev?: boolean;
    readonly uninstallGate?: boolean;
  };
  program
    .command('agent')
    .description('run the agent of this director')
    .option('--config <file>', 'agent.yaml')
    .option('--dev', 'readable log, for development')
    .option(
      '--uninstall-gate',
      'remove left VIPs and the kernel rules that silence VIPs or mark packets, tell what stays, and end; for machines that are no director any more (--config: for another stateDir)',
    )
    .action(async ({ config, dev, uninstallGate: isUninstall }: Options) => {
      if (isUninstall === true) return done(await uninstallGate(config ?? null));
      if (config === undefined)
        throw new CliError(EXIT.badInput, "error: required option '--config <file>' not specified");
      done(await runAgent({ config, dev: dev ?? false }));
    });
}
