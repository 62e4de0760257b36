/** `kvorum compact`, `hash` and `alarm`: looking after the store. */
import type { Command } from 'commander';
import type { AlarmOf, StoreAlarm } from '../client/upkeep_types.ts';
import { KvError } from '../errors.ts';
import { type GlobalOptions, positiveInteger, withAdmin } from './endpoints.ts';
import { EXIT_FAILED, note, print, printJson, table } from './output.ts';

const SHOWN_DIGITS = 16;

export function addUpkeepCommands(program: Command): void {
  const globals = (): GlobalOptions => program.opts<GlobalOptions>();

  program
    .command('compact')
    .description('drop history up to a revision, which stays readable')
    .argument('<revision>')
    .option('--physical', 'return only when the node asked has flushed, so that its disk can be freed')
    .addHelpText('after', '\nExample:\n  kvorum compact 1200')
    .action((revision: string, { physical }: { physical?: boolean }) =>
      withAdmin(globals(), async (admin) => {
        const compactRevision = positiveInteger('revision', revision, 0);
        const current = await admin.upkeep.compact(compactRevision, { physical });
        if (globals().json) printJson({ compactRevision, revision: current });
        else print(`compacted at ${compactRevision}; the store is at ${current}`);
      }),
    );

  program
    .command('hash')
    .description('compare what all members hold; exit status 1 when they differ')
    .addHelpText('after', '\nMembers that differ raise the alarm CORRUPT.\n\nExample:\n  kvorum hash')
    .action(() =>
      withAdmin(globals(), async (admin) => {
        const compared = await admin.upkeep.hash();
        if (compared.differing.length > 0) process.exitCode = EXIT_FAILED;
        if (globals().json) return printJson(compared);
        const rows = compared.members.map(({ id, hash, problem }) => [
          String(id),
          hash?.hash.slice(0, SHOWN_DIGITS) ?? '-',
          String(hash?.versions ?? '-'),
          compared.differing.includes(id) ? 'DIFFERS' : problem,
        ]);
        print(table([['node', 'hash', 'versions', ''], ...rows]));
        note(`at revision ${compared.revision}, from ${compared.compactRevision} on`);
      }),
    );

  const alarm = program.command('alarm').description('list, raise and clear alarms');
  alarm
    .command('list')
    .description('the active alarms')
    .action(() => withAdmin(globals(), async (admin) => showAlarms(await admin.upkeep.alarms(), globals())));
  for (const action of ['raise', 'clear'] as const) {
    alarm
      .command(action)
      .description(`${action} an alarm`)
      .argument('<type>', 'nospace or corrupt')
      .argument('[member]', 'whom it concerns', '0')
      .action((type: string, member: string) =>
        withAdmin(globals(), async (admin) => {
          const changed = await admin.upkeep.changeAlarm(action, alarmOf(type, member));
          const verb = action === 'raise' ? 'active: ' : 'cleared: ';
          showAlarms(changed === undefined ? [] : [changed], globals(), verb);
        }),
      );
  }
  alarm.addHelpText('after', '\nExamples:\n  kvorum alarm list\n  kvorum alarm clear nospace 2');
}

function alarmOf(type: string, member: string): AlarmOf {
  if (type !== 'nospace' && type !== 'corrupt')
    throw new KvError('INVALID_ARGUMENT', `the alarm is ${JSON.stringify(type)}, allowed: nospace, corrupt`);
  return { type, member: positiveInteger('member', member, 0) };
}

function showAlarms(alarms: readonly StoreAlarm[], { json }: GlobalOptions, verb = ''): void {
  if (json) return printJson({ alarms });
  if (alarms.length === 0) return note('no such alarm');
  for (const { type, member } of alarms) print(`${verb}${type} ${member}`);
}
