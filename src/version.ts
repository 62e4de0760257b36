/** The program's version, as package.json has it (test/version.test.ts holds them together). */
export const VERSION = '0.1.0';
