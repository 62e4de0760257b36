#!/usr/bin/env node
/**
 * The command `kvorum`.
 *
 * Each command is in a file of its own; this one puts them together and shows what went wrong.
 */
import { Command } from 'commander';
import { VERSION } from '../version.ts';
import { addAuthCommands } from './auth_commands.ts';
import { addBench } from './bench_command.ts';
import { addCheck } from './check.ts';
import { addCheckHistory } from './check_history_command.ts';
import { addClusterCommands } from './cluster_commands.ts';
import { addDataCommands } from './data_commands.ts';
import { addLeaseCommands } from './lease_commands.ts';
import { addLocal } from './local.ts';
import { addLockCommands } from './lock_command.ts';
import { fail } from './output.ts';
import { addQuotaCommands } from './quota_commands.ts';
import { addRangeCommands } from './range_commands.ts';
import { addRestore } from './restore_command.ts';
import { addServe } from './serve.ts';
import { addSnapshot } from './snapshot_command.ts';
import { addTxn } from './txn_command.ts';
import { addUpkeepCommands } from './upkeep_commands.ts';

const program = new Command('kvorum')
  .description('A replicated, ordered, transactional key-value store.')
  .version(VERSION)
  .option(
    '--endpoints <list>',
    'HOST:PORT,... of nodes (else KVORUM_ENDPOINTS, else the nodes of kvorum local)',
  )
  .option(
    '--user <name[:password]>',
    'who to be, where rights are enforced (else KVORUM_USER; the password else from KVORUM_PASSWORD)',
  )
  .option('--json', 'machine-readable output')
  .option('--timeout <milliseconds>', 'how long a call may take (default 5000)')
  .showHelpAfterError('(kvorum --help shows all commands)')
  .addHelpText(
    'after',
    `
Examples:
  kvorum local                     three nodes on this machine
  kvorum put colour blue           write
  kvorum get colour                read
  kvorum watch colour              see changes
  kvorum status                    who leads, who follows
  kvorum COMMAND --help            more about one command`,
  );

addServe(program);
addLocal(program);
addDataCommands(program);
addRangeCommands(program);
addTxn(program);
addLeaseCommands(program);
addLockCommands(program);
addClusterCommands(program);
addAuthCommands(program);
addUpkeepCommands(program);
addQuotaCommands(program);
addSnapshot(program);
addRestore(program);
addCheck(program);
addCheckHistory(program);
addBench(program);

try {
  await program.parseAsync();
} catch (error) {
  fail(error, program.opts<{ json?: boolean }>().json === true);
}
