// What the commands of GET /commands answer and need, so a new command appears without a change here.

let commands = [];

export function setCommands(list) {
  commands = list;
}

export const findCommand = (name) => commands.find((one) => one.name === name);

/** "images", "text" or "lines"; text for a command that no longer exists. */
export const answerOf = (name) => findCommand(name)?.answers ?? "text";

/** A job that gets a card of its own: it makes pictures, or is about none. */
export const hasOwnCard = (job) => answerOf(job.command) === "images" || !job.images.length;

/** Commands that work on one picture and need nothing else: the buttons under each picture. */
export const pictureActions = () => commands.filter((one) => one.images.needed === 1 && !one.options.some((option) => option.required));

export const labelOf = (name) => name.charAt(0).toUpperCase() + name.slice(1);

/** What a job was asked: the value of its command's text option, else the command's name. */
export function titleOf(job) {
  const main = findCommand(job.command)?.options.find((option) => option.required && option.type === "string");
  return (main && job.options[main.name]) || labelOf(job.command);
}
